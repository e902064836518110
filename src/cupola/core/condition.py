"""Conditions on what somebody else said: `error.code != 0 and state in ["stopped", "fault"]`.

Owns the little language and its answers; who asks, and when, is `clips.triggers`. Names are fields of the JSON object, dots and brackets
go into it, and `value` is all of it. Comparisons, `and`, `or`, `not`, `in` and `has(field)`: nothing can be called or changed. Python's own
parser reads the text; what it made of it is walked here, never run. Standard library only.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, cast

LONGEST = 300  # characters
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_Read = Callable[[Any], Any]


class BadCondition(ValueError):
    """The text is no condition."""


class Unanswerable(Exception):
    """The condition cannot be applied to these facts: a field is not there, or is of another kind."""


class Condition:
    """A text, understood. Raises BadCondition."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise BadCondition(f"is longer than {LONGEST} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            hint = "; == compares" if "==" not in text and "=" in text else ""
            raise BadCondition(f"cannot be read ({getattr(error, 'msg', error)}){hint}") from None
        self._read = _reader(tree.body)

    def holds(self, facts: Any) -> bool:
        """Whether it is true of what `facts_of` made. Raises Unanswerable."""
        try:
            return bool(self._read(facts))
        except RecursionError:
            raise Unanswerable("is too deeply nested") from None


def facts_of(payload: bytes, *, json_only: bool = False) -> Any:
    """What a payload says: JSON, else its text. Raises Unanswerable with `json_only` for anything but JSON."""
    text = payload.decode(errors="replace")
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        if json_only:
            raise Unanswerable("is no JSON") from None
        return text.strip()


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        _no_number(text)
    return number


def _reader(node: ast.expr) -> _Read:
    """What finds the value of one part of a condition."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return lambda _: value
        case ast.Name(id=name) if name in _WORDS:
            return lambda _: _WORDS[name]
        case ast.Name(id=name):
            return lambda facts: _named(facts, name)
        case ast.Attribute(value=holder, attr=name):
            return _field(node, _reader(holder), name)
        case ast.Subscript(value=holder, slice=ast.Constant(value=str() | int() as place)):
            return _field(node, _reader(holder), place)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return lambda _: -number
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            found = _reader(inner)
            return lambda facts: not found(facts)
        case ast.BoolOp(op=op, values=parts):
            readers = [_reader(part) for part in parts]
            if isinstance(op, ast.And):
                return lambda facts: all(read(facts) for read in readers)
            return lambda facts: any(read(facts) for read in readers)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            readers = [_reader(part) for part in parts]
            return lambda facts: [read(facts) for read in readers]
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _comparison(ast.unparse(node), [_reader(part) for part in (left, *others)], ops)
        case ast.Call(func=ast.Name(id="has"), args=[ast.Name() | ast.Attribute() | ast.Subscript() as what], keywords=[]):
            return _presence(_reader(what))
        case _:
            raise BadCondition(f"has {ast.unparse(node)[:60]!r}, which means nothing here")


def _named(facts: Any, name: str) -> Any:
    if isinstance(facts, dict) and name in facts:
        return cast(dict[str, Any], facts)[name]
    if name == "value":
        return cast(Any, facts)
    raise Unanswerable(f"has no field {name}")


def _field(node: ast.expr, holder: _Read, place: str | int) -> _Read:
    words = ast.unparse(node)

    kind = dict if isinstance(place, str) else list

    def read(facts: Any) -> Any:
        inside = holder(facts)
        try:
            if isinstance(inside, kind):
                return cast(Any, inside)[place]
        except (KeyError, IndexError):
            pass
        raise Unanswerable(f"has no field {words}")

    return read


def _presence(what: _Read) -> _Read:
    def there(facts: Any) -> bool:
        try:
            what(facts)
        except Unanswerable:
            return False
        return True

    return there


def _comparison(words: str, readers: list[_Read], ops: list[ast.cmpop]) -> _Read:
    for op in ops:
        if not isinstance(op, ast.Eq | ast.NotEq | ast.Lt | ast.LtE | ast.Gt | ast.GtE | ast.In | ast.NotIn):
            raise BadCondition("may compare by == != < <= > >= in, and not in")

    def holds(facts: Any) -> bool:
        left = readers[0](facts)
        for op, reader in zip(ops, readers[1:], strict=True):
            right = reader(facts)
            if not _compare(op, left, right, words):
                return False
            left = right
        return True

    return holds


def _compare(op: ast.cmpop, left: Any, right: Any, words: str) -> bool:
    match op:
        case ast.Eq():
            return left == right
        case ast.NotEq():
            return left != right
        case ast.In() | ast.NotIn():
            if not (isinstance(right, list | dict) or (isinstance(right, str) and isinstance(left, str))):
                raise Unanswerable(f"has nothing to look into for {words}")
            return (left in (list(cast(Any, right)) if isinstance(right, dict) else right)) == isinstance(op, ast.In)
        case _:
            number = (int, float)
            if not ((isinstance(left, number) and isinstance(right, number)) or (isinstance(left, str) and isinstance(right, str))):
                raise Unanswerable(f"has values of different kinds for {words}")
            return _ORDER[type(op)](left, right)
