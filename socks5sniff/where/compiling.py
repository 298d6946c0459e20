"""From the tree of an expression to a test of a conversation: names looked up, values understood, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from socks5sniff.record import Conversation
from socks5sniff.record.fields import RECORD, Key, Kind, names

from .mistakes import ExpressionError, MistakeError, alternatives
from .operators import ValueTest, member_test, pair_test, value_test
from .syntax import parse
from .tree import Comparison, Group, Literal, Name, Negation, Node

Test = Callable[[Any], bool]
Read = Callable[[Any], Any]


class Expression:
    """A test of conversations.

    Attributes:
        text: what it was made of.
        tree: that as a tree, whose names are keys of the record and whose values fit them: what can answer for many
            records at once (on columns) starts from here.
        keys: names of the record's keys that it looks at, `destination.host` or `anomalies.code`.
    """

    __slots__ = ("_test", "keys", "text", "tree")

    def __init__(self, text: str, tree: Node | None = None) -> None:
        """Understand `text`, or the `tree` that it would give.

        Raises:
            ExpressionError: it is not understood.
        """
        self.text = text
        keys: set[str] = set()
        try:
            self.tree = parse(text) if tree is None else tree
            self._test = _Scope(RECORD, "", keys).test(self.tree)
        except MistakeError as mistake:
            raise ExpressionError(text, mistake.position, mistake.reason) from None
        self.keys = frozenset(keys)

    def __call__(self, conversation: Conversation) -> bool:
        return self._test(conversation)

    def __reduce__(self) -> tuple[type[Expression], tuple[str, Node]]:
        return Expression, (self.text, self.tree)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(text: str) -> Expression:
    """The test that an expression describes.

    Raises:
        ExpressionError: it is not understood; the message tells the character and, where something is like it, what
            may have been meant.
    """
    return Expression(text)


class _Scope:
    """Where names are looked up: the record, or an element of one of its lists."""

    def __init__(self, key: Key, prefix: str, seen: set[str]) -> None:
        self._key = key
        self._prefix = prefix
        self._seen = seen

    def test(self, node: Node) -> Test:
        if isinstance(node, Negation):
            part = self.test(node.part)
            return lambda record: not part(record)
        if isinstance(node, Comparison):
            return self._comparison(node)
        return _group(node, [self.test(part) for part in node.parts])

    def _comparison(self, node: Comparison) -> Test:
        path = self._path(node.name)
        if node.name.element is not None:
            return self._element(node, path)
        if node.operator is None:
            self._note(path)
            return _present(_reader(path))
        path = _meant(path, node)
        self._note(path)
        key = path[-1][1]
        read = _reader(path)
        many = any(step.many for _, step in path)
        other = self._other(node, key)
        if other is not None:
            return _compare_keys(node.operator, read, many, *other)
        if node.operator == "in":
            return _any_of(read, many, member_test(key, node.values))
        (value,) = node.values
        assert isinstance(value, Literal)
        found = value_test(key, node.operator, value, node.position)
        return (_all_of if node.operator == "!=" else _any_of)(read, many, found)

    def _element(self, node: Comparison, path: list[tuple[str, Key]]) -> Test:
        """A key with a condition in brackets: some element fulfils it."""
        key = path[-1][1]
        if not key.inside:
            raise MistakeError(node.name.position, f"{node.name.text} has no keys inside")
        if node.operator is not None:
            raise MistakeError(
                node.position, "what is in brackets is a test of its own: nothing can be compared with it"
            )
        prefix = self._prefix + ".".join(name for name, _ in path) + "."
        assert node.name.element is not None
        test = _Scope(key, prefix, self._seen).test(node.name.element)
        return _any_of(_reader(path), any(step.many for _, step in path), test)

    def _other(self, node: Comparison, key: Key) -> tuple[Read, bool] | None:
        """The key on the right of a comparison, None where a value stands there."""
        value = node.values[0]
        if node.operator in ("in", "contains", "matches") or not isinstance(value, Literal) or value.sort != "word":
            return None
        path = self._find(value.text)
        if path is None or value.text in key.words:
            return None
        path = _meant(path, Comparison(Name(value.text, value.position), node.operator, (), value.position))
        kinds = {key.kind, path[-1][1].kind}
        if len(kinds) > 1 and kinds != {Kind.HOST, Kind.ADDRESS} and kinds != {Kind.HOST, Kind.TEXT}:
            raise MistakeError(
                value.position, f"{value.text} is {path[-1][1].kind.value}, {node.name.text} {key.kind.value}"
            )
        self._note(path)
        return _reader(path), any(step.many for _, step in path)

    def _path(self, name: Name) -> list[tuple[str, Key]]:
        path = self._find(name.text)
        if path is None:
            there = names(self._key)
            where = "" if self._key is RECORD else f" in {self._prefix.rstrip('.')}"
            raise MistakeError(name.position, f"there is no key {name.text!r}{where}{alternatives(name.text, there)}")
        return path

    def _find(self, text: str) -> list[tuple[str, Key]] | None:
        path = []
        key = self._key
        for part in text.split("."):
            found = key.inside.get(part)
            if found is None:
                return None
            path.append((part, found))
            key = found
        return path

    def _note(self, path: list[tuple[str, Key]]) -> None:
        self._seen.add(self._prefix + ".".join(name for name, _ in path))


def _meant(path: list[tuple[str, Key]], node: Comparison) -> list[tuple[str, Key]]:
    """The path to a value: one that ends at an object goes on to the key that this stands for."""
    key = path[-1][1]
    if key.kind is not Kind.OBJECT:
        return path
    if key.stands_for is None:
        inner = ", ".join(f"{node.name.text}.{name}" for name in key.inside)
        raise MistakeError(node.name.position, f"{node.name.text} cannot be compared itself; there is {inner}")
    return [*path, (key.stands_for, key.inside[key.stands_for])]


def _group(node: Group, parts: list[Test]) -> Test:
    if len(parts) == 2:
        first, second = parts
        if node.operator == "and":
            return lambda record: first(record) and second(record)
        return lambda record: first(record) or second(record)
    tests = tuple(parts)
    if node.operator == "and":
        return lambda record: all(test(record) for test in tests)
    return lambda record: any(test(record) for test in tests)


def _reader(path: list[tuple[str, Key]]) -> Read:
    """Reads the value at the end of a path, None where there is none; behind a list, the list of all values."""
    read: Read | None = None
    many = False
    for name, key in path:
        attribute = key.source or name
        if read is None:
            read = _attribute(attribute)
        elif many:
            read = _of_each(read, attribute)
        else:
            read = _of(read, attribute)
        many = many or key.many
    assert read is not None
    return read


def _attribute(name: str) -> Read:
    def read(owner: Any) -> Any:
        return owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)

    return read


def _of(owner: Read, name: str) -> Read:
    inner = _attribute(name)

    def read(record: Any) -> Any:
        found = owner(record)
        return None if found is None else inner(found)

    return read


def _of_each(owners: Read, name: str) -> Read:
    inner = _attribute(name)

    def read(record: Any) -> Any:
        return [inner(owner) for owner in owners(record) or ()]

    return read


def _present(read: Read) -> Test:
    """A key alone: it is there, and neither false nor an empty list."""

    def test(record: Any) -> bool:
        value = read(record)
        return value is not None and value is not False and value != []

    return test


def _any_of(read: Read, many: bool, test: ValueTest) -> Test:
    if many:
        return lambda record: any(test(value) for value in read(record) or () if value is not None)

    def single(record: Any) -> bool:
        value = read(record)
        return value is not None and test(value)

    return single


def _all_of(read: Read, many: bool, test: ValueTest) -> Test:
    """For `!=`: there are values, and all of them differ."""
    if not many:
        return _any_of(read, False, test)

    def every(record: Any) -> bool:
        values = [value for value in read(record) or () if value is not None]
        return bool(values) and all(map(test, values))

    return every


def _compare_keys(operator: str, read: Read, many: bool, other: Read, other_many: bool) -> Test:
    """One key beside another: some pair fits, or all pairs for `!=`."""
    fits = pair_test(operator)

    def values(reading: Read, is_many: bool, record: Any) -> Iterator[Any]:
        found = reading(record)
        return iter([value for value in (found or () if is_many else (found,)) if value is not None])

    def test(record: Any) -> bool:
        pairs = [(left, right) for left in values(read, many, record) for right in values(other, other_many, record)]
        return bool(pairs) and (all if operator == "!=" else any)(fits(left, right) for left, right in pairs)

    return test
