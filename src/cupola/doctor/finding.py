"""What a check has to tell: findings, each with what to do, and a sentence about what it saw. Which checks there are is `examine`'s."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """`error`: images or people are being let down now; `warning`: they will be; `note`: good to know, and no reason for exit 1.

    `fix` says what to type, or to do.
    """

    part: str
    level: Level
    what: str
    fix: str
    camera: str | None = None


@dataclass(slots=True)
class Told:
    """What one part's check found. `facts` are for the checks that come after it."""

    part: str
    findings: list[Finding] = field(default_factory=list[Finding])
    words: list[str] = field(default_factory=list[str])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    took_s: float = 0.0

    def error(self, what: str, fix: str, camera: str | None = None) -> None:
        self.findings.append(Finding(self.part, "error", what, fix, camera))

    def warning(self, what: str, fix: str, camera: str | None = None) -> None:
        self.findings.append(Finding(self.part, "warning", what, fix, camera))

    def note(self, what: str, fix: str, camera: str | None = None) -> None:
        self.findings.append(Finding(self.part, "note", what, fix, camera))

    def saw(self, words: str) -> None:
        """A figure or a state for people, whether something is wrong or not."""
        self.words.append(words)

    @property
    def ok(self) -> bool:
        return all(finding.level == "note" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Told:
        return cls(**{**told, "findings": [Finding(**finding) for finding in told["findings"]]})


def worst_first(told: list[Told]) -> list[Finding]:
    """All findings: the worst level first, within a level in the order of the parts, which goes from causes to what follows from them."""
    return sorted((finding for one in told for finding in one.findings), key=lambda finding: LEVELS.index(finding.level))
