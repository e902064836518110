"""Triggers that cannot work are refused when the configuration is read, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.config.load import from_text
from cupola.config.problems import ConfigProblems

CAMERAS = "cameras: [{name: gate, driver: simulator, preroll: {seconds: 10}}, {name: bare, driver: simulator}]\n"


def read(text: str, before: str = CAMERAS):
    return from_text(before + text, "cupola.yaml", Path("/nowhere"))


def refused(trigger: str, before: str = CAMERAS) -> str:
    with pytest.raises(ConfigProblems) as caught:
        read(f"clips: {{triggers: [{trigger}]}}\n", before)
    return str(caught.value)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("{name: a, mqtt: {topic: x}}", "needs a broker"),
        ("{name: a}", "exactly one of mqtt, poll, motion, event"),
        ("{name: a, event: {kind: streak_found}, motion: {camera: gate}}", "exactly one"),
        ("{name: a, event: {kind: streak_fond}}", 'did you mean "streak_found"'),
        ("{name: a, event: {kind: clip_saved}}", "no event that can make clips"),
        ("{name: a, event: {kind: streak_found, when: 'snr = 3'}}", "== compares"),
        ("{name: a, cameras: [gat], event: {kind: streak_found}}", 'did you mean "gate"'),
        ("{name: a, motion: {camera: bare}}", "no camera with a preroll"),
        ("{name: a, motion: {camera: gate, sensitivity: 0}}", "from 1 to 100"),
        ("{name: a, motion: {camera: gate, mask: [{x: 0.5, width: 0.6}]}}", "beyond the picture"),
        ("{name: a, before_s: 20, motion: {camera: gate}}", "more than the 10.0 s"),
        ("{name: a, poll: {url: 'http://127.0.0.1/x', when: x}}", "this machine itself"),
        ("{name: a, poll: {url: 'http://localhost:8000/x', when: x}}", "loopback: true"),
        ("{name: a, poll: {url: 'http://169.254.169.254/x', when: x, loopback: true}}", "link-local"),
        ("{name: a, poll: {url: 'http://[fe80::1]/x', when: x}}", "link-local"),
        ("{name: a, poll: {url: 'file:///etc/passwd', when: x}}", "no URL"),
        ("{name: a, poll: {url: 'http://h/x'}}", "when"),
        ("{name: '../a', motion: {camera: gate}}", "letters, digits"),
        ("{name: a, motion: {camera: gate}}, {name: a, motion: {camera: gate}}", "two triggers"),
    ],
)
def test_a_trigger_that_cannot_work_says_why(trigger: str, said: str) -> None:
    assert said in refused(trigger)


def test_topics_with_misplaced_wildcards_are_refused() -> None:
    for topic in ("a/b#", "a/#/b", "+a/b", "", "$SYS/x"):
        assert "topic" in refused(f"{{name: a, mqtt: {{topic: '{topic}'}}}}", CAMERAS + "mqtt: {host: broker}\n")


def test_without_any_pre_roll_there_is_nothing_to_make_clips_of() -> None:
    assert "nothing to make clips of" in refused("{name: a, event: {kind: streak_found}}", "cameras: [{name: gate, driver: simulator}]\n")


def test_secrets_in_a_polled_url_are_not_shown() -> None:
    settings = read("clips: {triggers: [{name: a, poll: {url: 'http://user:pa55@robot/h1dden?token=s3cret', when: 'fault != 0'}}]}\n")
    shown = settings.model_dump_json() + repr(settings)
    assert "robot" in shown and "pa55" not in shown and "s3cret" not in shown and "h1dden" not in shown
