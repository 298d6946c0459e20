"""Which conversations to show: `--client`, `--destination`, `--outcome` and so on, short forms of `--where`.

Values of one option are alternatives; a conversation must pass every option that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from socks5sniff.record import Conversation
from socks5sniff.record.fields import find

if TYPE_CHECKING:
    from socks5sniff.where import Expression

Test = Callable[[Conversation], bool]

OUTCOMES = find("outcome").words
SEVERITIES = find("anomalies.severity").words

OPTIONS = ("client", "proxy", "destination", "user", "command", "outcome", "anomaly")
"""Names of the filter options, in the order in which their parts stand."""


def is_told_early(test: Expression | None) -> bool:
    """Whether a test can be asked before conversations have their ids."""
    return test is None or not test.keys & {"id", "parent"}


def conversation_filter(options: Mapping[str, Any]) -> Expression | None:
    """One test out of the options' values, None when there are none.

    Args:
        options: values by option name, those of OPTIONS (a sequence each; words of the last three are known to be
            right), and `where`, an expression or None.

    Raises:
        click.BadParameter: a value is not understood; the message says what would be.
    """
    short = {option: options[option] for option in OPTIONS if options.get(option)}
    where: Expression | None = options.get("where")
    if not short:
        return where
    from .short_forms import expression

    return expression(short, where)
