"""What every block of the configuration has in common: strict keys, and facts about each key.

The keys themselves are in `model` and `drivers`; turning a refused value into words is `explain`'s.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin
from urllib.parse import unquote, urlsplit

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Secret, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Block(BaseModel):
    """A group of keys. Unknown keys are refused; a group left empty (`web:`) means its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_group_is_defaults(cls, value: object) -> object:
        return {} if value is None else value


def key(default: Any, title: str, description: str, *, unit: str | None = None, rule: str | None = None, **limits: Any) -> Any:
    """A key with everything that is said about it: in errors, in the reference, in a form.

    `unit` as printed after the number; `rule` says in words what a pattern or check demands.
    `default` is `...` for a key that must be given. Numbers take no text and no true/false (strict).
    """
    extra = {name: text for name, text in (("unit", unit), ("rule", rule)) if text is not None}
    return Field(default, title=title, description=description, json_schema_extra=cast(Any, extra) or None, **limits)


def group(factory: Any, title: str, description: str) -> Any:
    """A key that holds a list (`list`) or a block (`dict`: its defaults are then checked like anything that was written)."""
    return Field(default_factory=factory, title=title, description=description)


def fact(field: FieldInfo, name: str) -> str | None:
    """The `unit` or `rule` a key was given."""
    extra = field.json_schema_extra
    value = cast(Mapping[str, object], extra).get(name) if isinstance(extra, Mapping) else None
    return value if isinstance(value, str) else None


def block_of(annotation: Any) -> type[Block] | None:
    """The block behind `Block`, `Block | None` or `list[Block]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return annotation
    if get_origin(annotation) in (Annotated, Union, UnionType, list):
        return next((block for part in get_args(annotation) if (block := block_of(part))), None)
    return None


def choices_of(annotation: Any) -> list[str]:
    """The words of `Literal[...]`, also inside `Literal[...] | None` (then with "null")."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    if get_origin(annotation) in (Union, UnionType):
        words = [word for part in get_args(annotation) for word in choices_of(part)]
        return [*words, "null"] if words and type(None) in get_args(annotation) else words
    return []


def number(value: float) -> str:
    """A number as a person writes it: 1000000, not 1e+06; 0.05, not 0.05000."""
    return str(int(value)) if value == int(value) else repr(value)


def limits(field: FieldInfo) -> str:
    """The bounds of a number in words, with its unit: `from 1 to 65535`, `above 0, at most 86400 s`; empty if it has none."""
    low = high = ""
    inclusive = True
    for bound in cast(list[object], field.metadata):
        match bound:
            case Ge(ge=edge):
                low = number(cast(float, edge))
            case Gt(gt=edge):
                low, inclusive = number(cast(float, edge)), False
            case Le(le=edge) | Lt(lt=edge):
                high = number(cast(float, edge))
            case _:
                pass
    text = fact(field, "unit") or ""
    unit = text if text in ("", "°", "%") else f" {text}"
    if low and high:
        return f"from {low} to {high}{unit}" if inclusive else f"above {low}, at most {high}{unit}"
    if low:
        return f"{'at least' if inclusive else 'above'} {low}{unit}"
    return f"at most {high}{unit}" if high else ""


def _path_text(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise PydanticCustomError("path", "must be the path of a file or folder")
    return value


def in_folder_of_config(path: Path, info: ValidationInfo) -> Path:
    """`~` expanded; a relative path counts from the folder of the configuration file (context `base`)."""
    try:
        path = path.expanduser()
    except RuntimeError:
        raise PydanticCustomError("path", "begins with ~, but there is no such home folder") from None
    context = cast(Mapping[str, Path] | None, info.context)
    return context["base"] / path if context else path


ConfigPath = Annotated[Path, BeforeValidator(_path_text), AfterValidator(in_folder_of_config)]
Int = Annotated[int, Field(strict=True)]
Float = Annotated[float, Field(strict=True)]

_SECRET_VALUE = re.compile(r"(?i)((?:passw(?:or)?d|pass|pwd|token|secret|api_?key|key|auth)=)[^&;/\s\"']+")
_SECRET_USER = re.compile(r"(://)[^\s\"']*@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")


def mask(text: str) -> str:
    """Text with the credentials of every URL in it replaced by `***`; rather too much than too little."""
    return _SECRET_VALUE.sub(r"\1***", _SECRET_USER.sub(r"\1***@", text))


class Address(Secret[str]):
    """A URL or device path that may hold a password: printed and dumped to JSON without it."""

    def _display(self) -> str:
        text = self.get_secret_value()
        if "@" in text:
            scheme = found.group() if (found := _SCHEME.match(text)) else ""
            text = f"{scheme}***@{text.rpartition('@')[2]}"
        return mask(text)


def secrets_of(value: object) -> Iterator[str]:
    """Every text below a block that must not be shown: secrets, and the password of an address."""
    if isinstance(value, Address):
        with suppress(ValueError):  # no URL
            if password := urlsplit(value.get_secret_value()).password:
                yield from {password, unquote(password)}
    elif isinstance(value, Secret):
        yield str(cast(Secret[object], value).get_secret_value())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_of(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in cast(Sequence[object], value):
            yield from secrets_of(item)
    elif isinstance(value, dict):
        for item in cast(dict[object, object], value).values():
            yield from secrets_of(item)
