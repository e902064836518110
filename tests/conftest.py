"""What all tests share: the closing summary says what was skipped, and why."""

import os
from collections import Counter
from pathlib import Path

import pytest

# camera processes load their drivers by name, also the test card
os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(__file__).parents[1] / folder) for folder in ("src", "."))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped and the reason of each, also when none was."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple))
    terminalreporter.section("skipped")
    terminalreporter.line(f"{len(skipped)} skipped" + (":" if reasons else ""))
    for reason, count in reasons.most_common():
        terminalreporter.line(f"  {count} x {reason}")
