"""What can be wrong with a configuration, one by one, and all at once in one error."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from cupola.config.base import mask
from cupola.core.errors import ConfigError

KeyPath = tuple[str | int, ...]
_LONGEST_ECHO = 60


def printable(text: str, longest: int | None = None) -> str:
    """Text that is safe to show: no control characters, no credentials, cut to `longest` characters."""
    shown = mask("".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text))
    return shown if longest is None or len(shown) <= longest else shown[:longest] + "…"


def key_text(path: KeyPath) -> str:
    """`("cameras", 0, "driver")` as people write it: `cameras[0].driver`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{printable(part, _LONGEST_ECHO)}" for part in path)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change. `file` is the YAML file, the `.env` file or the environment variable it stands in."""

    file: str
    line: int | None
    column: int | None
    key_path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f" {self.key_path}:" if self.key_path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return printable(f"{where}:{key} {self.message}{hint}")


class ConfigProblems(ConfigError):
    """The configuration cannot be used; `problems` says everything that has to change."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0, problem.column or 0, problem.file))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigNotFound(ConfigError):
    """No configuration file was named, and none lies where it is looked for."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was most likely meant, if one is near; upper and lower case count as equal."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    found = get_close_matches(word[:_LONGEST_ECHO].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(word: str, allowed: Sequence[str]) -> str:
    """`did you mean "driver"? Allowed: name, driver`"""
    found = nearest(word, allowed)
    meant = f'did you mean "{found}"? ' if found else ""
    return f"{meant}Allowed: {', '.join(allowed)}" if allowed else meant.strip()
