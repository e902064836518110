"""pytest, and a second look at what failed: python tools/run_tests.py [pytest's arguments]

Many tests start whole stations, servers and browsers, and a machine that does other work stretches every one of their
waits. So a handful of failures is tried once more, alone, with nothing else of the run beside it. A test that passes then
is named as unsteady in the last lines: it did not stop the work, and it has to be mended. One that fails again,
more than FEW failures, or a run that did not come to its end, fails the whole.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

FEW = 10


class Watch:
    """What failed, and whether the run came to its end."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.complete = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self.complete = exitstatus == pytest.ExitCode.TESTS_FAILED and not (session.shouldfail or session.shouldstop)


def main(arguments: list[str]) -> int:
    watch = Watch()
    code = pytest.main(arguments, plugins=[watch])
    if not watch.complete or not 0 < len(watch.failed) <= FEW:
        return code
    print(f"\nOnce more, alone: {len(watch.failed)} failed\n", flush=True)
    again = subprocess.run([sys.executable, "-m", "pytest", "-ra", *watch.failed]).returncode
    if again == 0:
        print(f"\nUNSTEADY, to be mended: failed in the whole run, passed alone: {', '.join(watch.failed)}")
    return again


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
