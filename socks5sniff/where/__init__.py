"""One expression for choosing conversations, with the operators of Wireshark's display filters over a record's keys.

    reply.code == 5 and destination.host contains "example" and timing.request > 0.2 and not anomalies

`compile_expression` gives a test of a conversation; what is wrong with a text is an `ExpressionError` that tells the
character.
"""

from __future__ import annotations

from .compiling import Expression, compile_expression
from .mistakes import ExpressionError

__all__ = ["Expression", "ExpressionError", "compile_expression"]
