"""What all tests share: further variants of drivers keep a part of the contract unless all of it is asked for; the summary says what was skipped, and why."""

import os
from collections import Counter
from pathlib import Path

import pytest

# camera processes load their drivers by name, also the test card
os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(__file__).parents[1] / folder) for folder in ("src", "."))

# not for the programs that tests start: they know no such key
ALL_VARIANTS = os.environ.pop("CUPOLA_ALL_VARIANTS", "") == "1"
# what a further variant of a driver shows in any case; the rest hangs on what it shares with its main variant
OF_EVERY_VARIANT = {
    "test_open_tells_all_about_the_camera",
    "test_a_closed_camera_opens_again",
    "test_an_exposure_is_a_picture_taken_after_it_was_asked_for",
    "test_a_stream_delivers_pictures_in_order_from_a_keyframe_on",
    "test_streams_and_exposures_can_follow_each_other",
    "test_a_stop_ends_an_exposure_in_time",
    "test_apply_says_what_the_hardware_took_and_the_next_picture_carries_it",
}
left_out = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long files first, so that no worker is left with one at the end. Of the contract, classes marked `variant` run the tests above only,
    unless CUPOLA_ALL_VARIANTS=1; tests of their own always run.
    """
    items.sort(key=lambda item: "torture" not in item.path.parts)
    config.stash[left_out] = 0
    if ALL_VARIANTS:
        return
    from cupola.testing import DriverContract

    out = {
        item
        for item in items
        if item.get_closest_marker("variant")
        and hasattr(DriverContract, name := getattr(item, "originalname", item.name))
        and name not in OF_EVERY_VARIANT
    }
    if out:
        config.stash[left_out] = len(out)
        config.hook.pytest_deselected(items=list(out))
        items[:] = [item for item in items if item not in out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped and the reason of each, also when none was."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple))
    terminalreporter.section("skipped")
    terminalreporter.line(f"{len(skipped)} skipped" + (":" if reasons else ""))
    for reason, count in reasons.most_common():
        terminalreporter.line(f"  {count} x {reason}")
    if count := terminalreporter.config.stash.get(left_out, 0):
        terminalreporter.line(f"{count} tests of further variants of drivers left out; CUPOLA_ALL_VARIANTS=1 runs them")
