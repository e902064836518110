"""What the configuration says about itself: JSON Schema, the reference page, the settings in force, a first file.

`python -m cupola.config.schema --check FILE` fails when the reference page is out of step, `--write FILE` writes it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from cupola.config.base import Address, Block, block_of, choices_of, fact, limits
from cupola.config.camera import RESERVED_NAMES
from cupola.config.drivers import DRIVERS
from cupola.config.load import from_text
from cupola.config.model import Settings
from cupola.config.problems import ConfigProblems
from cupola.config.version import VERSION
from cupola.core.errors import InvalidSetting

_INTRODUCTION = """# Configuration

<!-- Made by `python -m cupola.config.schema --write docs/configuration.md`; change the descriptions in src/cupola/config/. -->

One YAML file. Cupola takes the first of: the file given with `--config`; the one the environment variable
`CUPOLA_CONFIG` names; `cupola.yaml` in the current folder; `cupola/cupola.yaml` in your config folder
(`$XDG_CONFIG_HOME`, usually `~/.config`). Without any, `cupola run` shows the demo station.

`cupola init` writes a first file, `cupola config check` lists everything that is wrong with one, `cupola config show`
prints the settings in force. The files in `examples/` are complete.

- A key that does not exist is refused, with the nearest one that does. Every key has a default unless it says *required*.
- Relative paths count from the folder of the configuration file; `~` is your home folder. A `video` source is a path
  of this kind when it begins with `./`, `../` or `~/`.
- `${NAME}` is replaced by the environment variable, `${NAME:-text}` by `text` when it is unset or empty; `$${` stands for
  a plain `${`. Without quotes around it, the result is read as YAML would read it: a number, true/false, or text.
- A file `.env` beside the configuration, with a line `NAME=value` each, adds variables; the real environment wins. Keep
  passwords there and let only its owner read it (`chmod 600 .env`).
- `CUPOLA_` and the names of the keys, joined by two underscores, override any key: `CUPOLA_WEB__PORT=9000`,
  `CUPOLA_CAMERAS__0__CAPTURE__INTERVAL_S=30`. A list or group is written as `[1, 2]` or `{a: 1}`. `CUPOLA_DEBUG=true` is
  short for `CUPOLA_LOGGING__DEBUG=true`.
- Passwords in addresses are shown as `***`.
- `version` says for which keys the file was written. A new key needs no new version; after one that was renamed, files of before it are understood
  as they were meant, and stay as they are. A file of a newer Cupola is refused.
- YAML 1.2: only `true` and `false` are truth values; tabs do not indent; the same key twice is an error.
"""

_STARTER = """# Configuration of a Cupola station. Every key: docs/configuration.md, or cupola config schema.
# Check it with: cupola config check

version: {version} # of these keys: leave it as it is

station:
  name: {name}
  latitude: {latitude} # degrees, north is positive
  longitude: {longitude} # degrees, east is positive
  elevation_m: 0
  timezone: UTC # such as Europe/Zurich

storage:
  root: cupola-data # where images go; relative to this file

cameras:
  # A simulated sky to begin with. Replace it by one of the examples below.
  - name: sky
    driver: simulator
    simulator:
      sky_time: night # or now, for the real sky
    live:
      exposure_s: 0.2
      gain: 300
    exposure:
      exposure_s: 4
      gain: 200
    capture:
      autostart: true # begin as soon as the camera is open
      interval_s: 10 # from one opening of the shutter to the next

  # A webcam:
  # - name: window
  #   driver: video
  #   video:
  #     source: /dev/video0
  #     input_format: mjpeg

  # A network camera; put CAMERA_PASSWORD=... into a file .env beside this one:
  # - name: door
  #   driver: video
  #   video:
  #     source: rtsp://viewer:${{CAMERA_PASSWORD}}@192.168.1.20/sub
  #     record: rtsp://viewer:${{CAMERA_PASSWORD}}@192.168.1.20/main

  # A folder of photographs, or a video file:
  # - name: replay
  #   driver: replay
  #   replay:
  #     path: photographs
  #     rate_fps: 2

web:
  port: 8000
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file: titles, descriptions, bounds, and units as `unit`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def show(settings: Settings) -> dict[str, Any]:
    """The settings in force with their defaults, as JSON types; credentials as `***`; only each camera's own driver block."""
    shown = settings.model_dump(mode="json")
    for camera in shown["cameras"]:
        for name in DRIVERS:
            if name != camera["driver"]:
                del camera[name]
    return shown


def show_yaml(settings: Settings) -> str:
    """`show` as YAML."""
    return yaml.safe_dump(show(settings), sort_keys=False, allow_unicode=True, width=150)


def initial_yaml(name: str, latitude: float, longitude: float) -> str:
    """A commented first configuration, with a simulated camera. Raises InvalidSetting for values a station cannot have."""
    text = _STARTER.format(version=VERSION, name=json.dumps(name), latitude=json.dumps(latitude), longitude=json.dumps(longitude))
    try:
        from_text(text, "cupola.yaml", Path())
    except ConfigProblems as error:
        first = error.problems[0]
        raise InvalidSetting(first.key_path, f"{first.key_path} {first.message}{f'; {first.hint}' if first.hint else ''}") from None
    return text


def markdown() -> str:
    """The reference page of all keys."""
    return "\n".join([_INTRODUCTION, *_sections(Settings, "")])


def _sections(block: type[Block], prefix: str) -> Iterator[str]:
    """A table of the block's own keys, then a section for each block below it."""
    own = {name: field for name, field in block.model_fields.items() if block_of(field.annotation) is None}
    if own:
        yield "| key | value | default | |\n| --- | --- | --- | --- |"
        yield from (f"| `{name}` | {_value(field)} | {_default(field)} | {_cell(field.description)} |" for name, field in own.items())
        yield ""
    for name, field in block.model_fields.items():
        below = block_of(field.annotation)
        if below is not None:
            path = f"{prefix}{name}{'[]' if _is_list(field) else ''}"
            yield f"## `{path}`\n\n{below.__doc__ if name in DRIVERS else field.description}\n"
            if path == "cameras[]":
                yield f"Names that cannot be used: {', '.join(sorted(RESERVED_NAMES))}.\n"
            yield from _sections(below, f"{path}.")


def _is_list(field: FieldInfo) -> bool:
    return str(field.annotation).startswith(("list[", "typing.List["))


def _value(field: FieldInfo) -> str:
    """What may stand there, in words."""
    kind = str(field.annotation)
    words = choices_of(field.annotation)
    if words:
        return ", ".join(f"`{word}`" for word in words)
    null = " or `null`" if type(None) in get_args(field.annotation) else ""
    rule, bounds = fact(field, "rule"), limits(field)
    if rule:
        return _cell(rule) + null
    if _is_list(field):
        return "list of whole numbers, at least 1"
    plain = next((word for part, word in _WORDS if part in kind), "text")
    return f"{plain}{f', {bounds}' if bounds else ''}{null}"


_WORDS = (
    ("bool", "`true`, `false`"),
    ("Path", "path"),
    (Address.__name__, "URL or device path"),
    ("Hook", "URL"),
    ("int", "whole number"),
    ("float", "number"),
)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    return f"`{json.dumps(value if isinstance(value, bool | int | float | list | None) else str(value))}`".replace('"', "")


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """`--check FILE` or `--write FILE`."""
    match arguments:
        case ["--write", file]:
            Path(file).write_text(markdown(), "utf-8")
            return 0
        case ["--check", file]:
            if Path(file).is_file() and Path(file).read_text("utf-8") == markdown():
                return 0
            print(f"{file} is out of step with the configuration; run: python -m cupola.config.schema --write {file}", file=sys.stderr)
            return 1
        case _:
            print("usage: python -m cupola.config.schema --check FILE | --write FILE", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
