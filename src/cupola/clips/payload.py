"""What a trigger may leave with its clip: anything JSON, as long as it is short and flat enough to be read back by everybody."""

from __future__ import annotations

import json
from typing import Any

PAYLOAD_MAX = 4096  # characters of JSON
DEPTH_MAX = 20  # lists and objects in each other; what answers are written with gives up at 255


def fits(payload: Any) -> bool:
    """Whether it may be kept as it is."""
    return _depth(payload) <= DEPTH_MAX and len(json.dumps(payload)) <= PAYLOAD_MAX


def kept(payload: Any) -> Any:
    """What is kept of a payload that nobody can be asked to shorten: all of it, or the beginning of its text."""
    return payload if fits(payload) else json.dumps(payload, ensure_ascii=False)[: PAYLOAD_MAX // 2] + "…"


def _depth(value: Any) -> int:
    """How deeply lists and objects lie in each other; stops counting behind `DEPTH_MAX`."""
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in (outer.values() if isinstance(outer, dict) else outer)]
        depth += 1
    return depth
