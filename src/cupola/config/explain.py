"""From pydantic's findings to sentences for the owner of the station.

A refused value is repeated only where it helps (a word that is nearly right, a number out of
bounds), and never when it came from the environment.
"""

from typing import get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cupola.config.base import Block, block_of, choices_of, fact, limits, number
from cupola.config.document import Document, plain
from cupola.config.model import Settings
from cupola.config.problems import KeyPath, printable, suggestion

_ECHO_BELOW = 1e15
_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_WANTED = {
    "int_type": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_unicode": "text",
    "path_type": "a path",
    "list_type": "a list",
    "model_type": "a group of keys",
    "model_attributes_type": "a group of keys",
    "dict_type": "a group of keys",
}
_GIVEN: dict[type, str] = {
    type(None): "null",
    bool: "true/false",
    str: "text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a group of keys",
}


def explain(error: ValidationError, document: Document) -> None:
    """Add to `document` one problem for each finding, except where the document has one already."""
    for finding in error.errors(include_url=False):
        named = str(finding.get("ctx", {}).get("key", "")).split(".")
        path: KeyPath = finding["loc"] or tuple(int(part) if part.isdigit() else part for part in named)
        if path not in document.failed:
            message, hint = _words(finding, path, echo=path not in document.filled)
            document.report(path, message, hint)


def field_at(path: KeyPath) -> tuple[type[Block] | None, FieldInfo | None]:
    """The block that holds the key at `path`, and the key's field (None for a key that does not exist)."""
    block: type[Block] | None = Settings
    holder, field = None, None
    for part in path:
        if isinstance(part, str):
            holder = block
            field = block.model_fields.get(part) if block else None
            block = block_of(field.annotation) if field else None
    return holder, field


def _words(finding: ErrorDetails, path: KeyPath, *, echo: bool) -> tuple[str, str]:
    """Message and hint."""
    kind, value = finding["type"], finding["input"]
    holder, field = field_at(path)
    message, hint = finding["msg"], str(finding.get("ctx", {}).get("hint", ""))
    if kind == "extra_forbidden":
        message, hint = "unknown key", suggestion(str(path[-1]), list(holder.model_fields) if holder else [])
    elif field is None:
        pass
    elif kind == "missing":
        message, hint = "is missing", field.description or ""
    elif kind in _BOUNDS or (kind == "float_type" and type(value) is int):  # an integer beyond what a float holds
        message = f"must be {'at least 1' if isinstance(path[-1], int) else limits(field)}"
        message += f", not {number(value)}" if echo and abs(value) < _ECHO_BELOW else ""
    elif kind == "multiple_of":
        message = f"must be an even number{f', not {value}' if echo else ''}"
    elif kind == "finite_number":
        message, hint = "must be a finite number", limits(field)
    elif kind == "literal_error":
        word = value if isinstance(value, str) and echo else ""
        message = f'"{printable(word, 40)}" is not one of its values' if word else f"must be one of its values, not {_given(value)}"
        hint = suggestion(word, choices_of(field.annotation))
    elif kind == "string_pattern_mismatch":
        message, hint = "has characters or a length that it must not have", f"Allowed: {fact(field, 'rule')}"
    elif kind == "too_long":
        message = "has too many entries"
    elif kind in _WANTED:
        wanted = _WANTED[kind]
        null = " or null" if type(None) in get_args(field.annotation) and isinstance(path[-1], str) else ""
        message, hint = f"must be {wanted}{null}, not {_given(value)}", _how_to_write(wanted, value, field)
    return message, hint


def _how_to_write(wanted: str, value: object, field: FieldInfo) -> str:
    if "number" in wanted:
        return "remove the quotes around the number" if isinstance(value, str) and not isinstance(_number_in(value), str) else limits(field)
    by_kind = {
        "text": fact(field, "rule") or "put it into quotes",
        "a list": "each entry begins with a dash on a line of its own",
        "a group of keys": "write one key: value a line, indented",
    }
    return by_kind.get(wanted, "")


def _number_in(text: str) -> object:
    """A text's value if it stood there without quotes; text that cannot be one stays text."""
    try:
        value = plain(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _given(value: object) -> str:
    word = _GIVEN.get(type(value), "that")
    return f"{word} with a fraction" if isinstance(value, float) and value % 1 else word
