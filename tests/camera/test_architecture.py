"""What docs/architecture.md says in numbers about deadlines and recovery is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cupola.camera import deadline, exposer, messages, recovery, series, supervisor

TEXT = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")


def seconds(row: str) -> list[float]:
    """The numbers with the unit s in the last cells of a table's row that begins like this, or of a sentence."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(row)]
    return [float(number) for number in re.findall(r"(?<![\w.])(\d+(?:\.\d+)?) s\b", line)]


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("| from the start of the process", [supervisor.START_BUDGET_S]),
        ("| opening the device", [exposer.OPEN_BUDGET_S]),
        ("| applying settings; closing the device", [exposer.APPLY_BUDGET_S]),
        ("| an exposure; the next live picture", [deadline.MIN_BUDGET_S]),
        ("| `interrupt()` after a missed deadline", [deadline.GRACE_S]),
        ("| interrupt | a deadline is missed", [deadline.GRACE_S]),
        ("| nothing under way", [messages.IDLE_BUDGET_S]),
        ("| USB reset |", [recovery.AFTER_RESET_S]),
        ("| driver hangs, holding the interpreter", [recovery.BACKOFF_S[0]]),
        ("| camera unplugged", [recovery.ABSENT_MOST_S]),
        ("| nothing of this helps", [recovery.BACKOFF_S[-1]]),
        ("| an exposure gives no picture", [series.FAILED_PAUSE_S]),
    ],
)
def test_a_row_says_what_the_code_does(row: str, values: list[float]) -> None:
    assert seconds(row) == values


def test_the_pauses_and_the_counts_of_the_rungs_are_those_of_the_code() -> None:
    *pauses, last = [f"{pause:g}" for pause in recovery.BACKOFF_S]
    assert (
        f"The pauses before the next start are {', '.join(pauses)}, then {last} s; for a camera that is away {recovery.ABSENT_MOST_S:g} s at most"
        in TEXT
    )
    policy = recovery.Policy()
    assert {1: "Once", 3: "Three times"}[policy.reopen] + " in a row (`reopen`)" in TEXT
    assert {1: "Once", 3: "Three times"}[policy.restart] + " in a row (`restart`)" in TEXT
    assert policy.usb_reset == "off" and "switches the port off and on; 2 s later the process is started. Off by default" in TEXT
    assert f"after {exposer.INTERRUPT_AFTER_S:g} s `interrupt()` of the driver; then the process" in TEXT
