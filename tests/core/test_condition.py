"""The little language of triggers."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cupola.core.condition import BadCondition, Condition, Unanswerable, facts_of

ROBOT = {"error": {"code": 7, "text": "arm blocked"}, "state": "stopped", "ok": False, "axes": [0, 5], "odd-name": 1, "none": None}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("error.code != 0", True),
        ('error.code > 3 and state in ["stopped", "fault"]', True),
        ("ok", False),
        ("not ok or error.code == 0", True),
        ('"blocked" in error.text', True),
        ('"jammed" not in error.text', True),
        ("0 < axes[1] <= 5", True),
        ("axes[0] == -1", False),
        ('value["odd-name"] == 1', True),
        ("none == null and ok == false", True),
        ("has(error.code) and not has(error.colour) and not has(axes[2])", True),
        ("has(missing) and missing > 3", False),
        ('"code" in error', True),
        ("axes[0] in error", False),
    ],
)
def test_conditions_on_what_a_robot_says(text: str, holds: bool) -> None:
    assert Condition(text).holds(ROBOT) is holds


def test_what_is_no_object_is_called_value() -> None:
    assert Condition("value == 'ON'").holds(facts_of(b"ON\n")) and Condition("value > 20.5").holds(facts_of(b"21"))
    assert Condition("value == 3").holds({"value": 3}), "a field of that name comes first"


@pytest.mark.parametrize(("text", "said"), [("colour == 1", "no field colour"), ("error.x == 1", "no field error.x"), ("axes[9] == 1", "axes"),
                                            ("error.text < 3", "different kinds"), ("1 in ok", "nothing to look into"), ("state.x", "no field")])  # fmt: skip
def test_what_cannot_be_answered_is_said(text: str, said: str) -> None:
    with pytest.raises(Unanswerable, match=said):
        Condition(text).holds(ROBOT)


@pytest.mark.parametrize(
    "text",
    ["", "x = 3", "__import__('os').system('x')", "x.y()", "has(1)", "has()", "lambda: 1", "[i for i in x]", "f'{x}'", "(" * 250, "x is 3", "a ** b",
     "a + b", "b'x' == 1", "x == 'unclosed", "1j == x", "{}", "x[y]", "x[1:2]", "...", "x if y else z", "(x := 3)", "x\ny", "x" * 301, "\0", "*x", "await x"],
)  # fmt: skip
def test_everything_else_is_no_condition(text: str) -> None:
    with pytest.raises(BadCondition):
        Condition(text)


def test_payloads_are_read_whatever_they_are() -> None:
    assert facts_of(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    for odd in (b"NaN", b"[1e999]", b"-Infinity", b"[" * 60_000, b"1" * 9000, b"\xff\x00", b""):
        assert isinstance(facts_of(odd), str)
        with pytest.raises(Unanswerable, match="no JSON"):
            facts_of(odd, json_only=True)


@given(some.text(max_size=40), some.recursive(some.none() | some.booleans() | some.integers() | some.text(max_size=5),
                                              lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3)))  # fmt: skip
def test_no_text_and_no_facts_end_in_anything_but_an_answer(text: str, facts: Any) -> None:
    with contextlib.suppress(BadCondition, Unanswerable):
        assert Condition(text).holds(facts) in (True, False)
