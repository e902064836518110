"""A camera's `develop` block with some keys changed, for one picture: `stretch.method=asinh`.

What can be wrong is said in the words of the configuration; the file itself is never touched.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from cupola.config.develop import Develop
from cupola.config.load import from_text
from cupola.config.problems import ConfigProblems, Problem

_PLACE = "cameras[0].develop"


def with_changes(block: Develop, changes: Mapping[str, Any], name: str, base: Path) -> Develop:
    """`changes` are nested like the block itself; a group is changed key by key. Relative paths count from `base`.

    Raises ConfigProblems that name `name` instead of a file, and the key within the block.
    """
    wanted = {"cameras": [{"name": "camera", "driver": "simulator", "develop": _merged(block.recipe(), changes)}]}
    try:
        return from_text(json.dumps(wanted).replace("${", "$${"), name, base).cameras[0].develop
    except ConfigProblems as error:
        raise ConfigProblems([_without_place(problem, name) for problem in error.problems]) from None


def _without_place(problem: Problem, name: str) -> Problem:
    return replace(problem, file=name, line=None, column=None, key_path=problem.key_path.removeprefix(_PLACE).lstrip("."))


def _merged(below: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[key] = _merged(cast(Mapping[str, Any], old), cast(Mapping[str, Any], value))
        else:
            merged[key] = value
    return merged


def parse_changes(words: tuple[str, ...], name: str) -> dict[str, Any]:
    """`("stretch.method=asinh", "rotate_deg=90")` nested; values as in YAML. Raises ConfigProblems for a word without `=`, or a bad value."""
    changes: dict[str, Any] = {}
    problems: list[Problem] = []
    for word in words:
        place, equals, text = word.partition("=")
        try:
            value: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(Problem(name, None, None, place, "is not valid YAML", "check brackets and quotes"))
            continue
        if not equals or not place.strip():
            problems.append(Problem(name, None, None, word, "has no = between key and value", "such as stretch.method=asinh"))
            continue
        *groups, last = place.strip().split(".")
        holder = changes
        for part in groups:
            below = holder.setdefault(part, {})
            if not isinstance(below, dict):
                below = holder[part] = {}
            holder = cast(dict[str, Any], below)
        holder[last] = value
    if problems:
        raise ConfigProblems(problems)
    return changes
