"""From the text of an expression to its tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from .mistakes import MistakeError
from .tree import Comparison, Group, Literal, Name, Negation, Node, Range

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

MAX_LENGTH = 10_000
"""Characters of an expression."""
MAX_DEPTH = 100
"""Parentheses, brackets and `not` inside each other: a tree is walked by functions that call themselves."""

GRAMMAR = r"""
?start: any_of
?any_of: all_of (_OR all_of)*
?all_of: _factor (_AND _factor)*
_factor: negation | "(" any_of ")" | comparison
negation: _NOT _factor
comparison: key (COMPARE value | TEXTUAL value | IN _members | NOT_IN _members)?
key: WORD ("[" any_of "]")?
_members: "{" member (","? member)* ","? "}" | value
member: value (".." value)?
?value: WORD | STRING | NUMBER | ADDRESS

_OR.2: /\|\||or(?![\w.-])/i
_AND.2: /&&|and(?![\w.-])/i
NOT_IN.3: /not\s+in(?![\w.-])/i
_NOT.2: /!(?!=)|not(?![\w.-])/i
IN.2: /in(?![\w.-])/i
COMPARE.2: /==|!=|<=|>=|<|>|(?:eq|ne|le|ge|lt|gt)(?![\w.-])/i
TEXTUAL.2: /~|(?:contains|matches)(?![\w.-])/i
STRING: /r?"(?:[^"\\]|\\.)*"|r?'(?:[^'\\]|\\.)*'/s
ADDRESS.1: /(?:(?=[0-9a-f.]*:[0-9a-f.]*:)(?:[0-9a-f:]|\.(?!\.))+|\d+\.\d+\.\d+\.\d+)(?:\/\d+)?/i
NUMBER: /-?(?:0x[0-9a-f]+|\d+(?:\.\d+)?(?:e-?\d+)?)(?![\w-])/i
WORD: /[a-z_](?:[\w-]|\.(?!\.))*/i
%ignore /\s+/
"""

_SYNONYMS = {"eq": "==", "ne": "!=", "le": "<=", "ge": ">=", "lt": "<", "gt": ">", "~": "matches"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\"'\\nrt])")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        MistakeError: it is not understood.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

    if len(text) > MAX_LENGTH:
        raise MistakeError(MAX_LENGTH, f"it is longer than {MAX_LENGTH:,} characters")
    _check_depth(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedCharacters as error:
        at = error.pos_in_stream or 0
        unended = text[at] in "\"'"
        raise MistakeError(
            at, "a string does not end" if unended else f"{_there(text, at)!r} is not understood"
        ) from None
    except UnexpectedToken as error:
        at = len(text) if error.token.type == "$END" else error.token.start_pos or 0
        raise MistakeError(at, _expected(text, at, error.accepts or error.expected)) from None
    except UnexpectedEOF:
        raise MistakeError(len(text), "something is missing") from None
    return _node(tree)


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", propagate_positions=True)


def _check_depth(text: str) -> None:
    depth = 0
    for found in re.finditer(r"[(\[]|[)\]]|!(?!=)|\bnot\b", re.sub(r"\"[^\"]*\"|'[^']*'", "", text), re.IGNORECASE):
        depth += -1 if found[0] in ")]" else 1
        if depth > MAX_DEPTH:
            raise MistakeError(len(text), f"more than {MAX_DEPTH} parentheses and `not` are inside each other")


def _there(text: str, at: int) -> str:
    """The word or character at a place."""
    found = re.compile(r"[\w.:/-]+|\S").match(text, at)
    return found[0] if found else text[at : at + 1]


def _expected(text: str, at: int, tokens: Any) -> str:
    """What could stand at a place where something else does."""
    if "RBRACE" in tokens:
        wanted = "another value or `}`"
    elif "WORD" in tokens and "STRING" in tokens:
        wanted = "a value"
    elif "WORD" in tokens:
        wanted = "a key of the record"
    elif "COMPARE" in tokens:
        wanted = "an operator (==, !=, <, >, contains, matches, in), `and`, `or` or the end"
    elif "RPAR" in tokens:
        wanted = "`and`, `or` or `)`"
    elif "RSQB" in tokens:
        wanted = "`and`, `or` or `]`"
    else:
        wanted = "`and`, `or` or the end"
    return f"{wanted} is expected" + (f", not {_there(text, at)!r}" if at < len(text) else "")


def _node(tree: Tree[Token]) -> Node:
    children: list[Any] = tree.children
    if tree.data in ("any_of", "all_of"):
        return Group("or" if tree.data == "any_of" else "and", tuple(_node(child) for child in children))
    if tree.data == "negation":
        return Negation(_node(children[0]))
    name = _name(children[0])
    if len(children) == 1:
        return Comparison(name)
    token = children[1]
    word = " ".join(token.lower().split())
    comparison = Comparison(
        name, "in" if word == "not in" else _SYNONYMS.get(word, word), tuple(_values(children[2:])), token.start_pos
    )
    return Negation(comparison) if word == "not in" else comparison


def _name(tree: Tree[Token]) -> Name:
    first: Any = tree.children[0]
    element: Any = tree.children[1] if len(tree.children) > 1 else None
    return Name(str(first), first.start_pos, None if element is None else _node(element))


def _values(children: list[Any]) -> Iterator[Literal | Range]:
    for child in children:
        if hasattr(child, "children"):
            ends = [_literal(token) for token in child.children]
            yield ends[0] if len(ends) == 1 else Range(*ends)
        else:
            yield _literal(child)


def _literal(token: Token) -> Literal:
    text = str(token)
    assert token.start_pos is not None
    if token.type == "STRING":
        text = text[2:-1] if text[0] == "r" else _ESCAPE.sub(_unescape, text[1:-1])
    return Literal(text, token.type.lower(), token.start_pos)


def _unescape(found: re.Match[str]) -> str:
    r"""The character of an escape; a backslash before anything else stays, as regular expressions need it."""
    code = found[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _CONTROLS.get(code, code)
