"""What all tests share: the closing summary says what was skipped, and why."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped and the reason of each, also when none was."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple))
    terminalreporter.section("skipped")
    terminalreporter.line(f"{len(skipped)} skipped" + (":" if reasons else ""))
    for reason, count in reasons.most_common():
        terminalreporter.line(f"  {count} x {reason}")
