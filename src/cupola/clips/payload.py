"""What a trigger may leave with its clip: anything JSON, as long as it is short and flat enough to be read back by everybody."""

from __future__ import annotations

import json
from typing import Any

PAYLOAD_MAX = 4096  # characters of JSON
DEPTH_MAX = 20  # lists and objects in each other; what answers are written with gives up at 255


def problem(payload: Any) -> str | None:
    """Why it may not be kept as it is, in words behind "payload": too long, too deep, or what Python reads as JSON and could never tell again."""
    if _depth(payload) > DEPTH_MAX:
        return f"has lists or objects in each other, more than {DEPTH_MAX} deep"
    try:
        text = json.dumps(payload, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate such as \\ud800)"
    except ValueError:
        return "has a number that JSON does not know: NaN or Infinity"
    return (
        f"is longer than {PAYLOAD_MAX} characters: send what identifies the fault, and keep the rest where it is" if len(text) > PAYLOAD_MAX else None
    )


def kept(payload: Any) -> Any:
    """What is kept of a payload that nobody can be asked to shorten: all of it, or the beginning of its text."""
    return payload if problem(payload) is None else json.dumps(payload)[: PAYLOAD_MAX // 2] + "…"


def _depth(value: Any) -> int:
    """How deeply lists and objects lie in each other; stops counting behind `DEPTH_MAX`."""
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in (outer.values() if isinstance(outer, dict) else outer)]
        depth += 1
    return depth
