"""How a correction in stops, which auto exposure leaves for the developing, is applied: in linear light, before any curve."""

from __future__ import annotations


def gain(correction: float) -> float:
    """The factor on linear light above black that `correction` stops are; 0 stops are 1."""
    return 2.0**correction
