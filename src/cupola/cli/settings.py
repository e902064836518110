"""Which settings a command works with."""

from __future__ import annotations

from pathlib import Path

from cupola.config.load import demo_settings, find, load
from cupola.config.model import Settings
from cupola.core.errors import ConfigError


def settings_for(file: Path | None, *, demo: bool) -> Settings:
    """The configuration, or the demo when there is none or it was asked for. Raises ConfigError."""
    if demo:
        return demo_settings(_here())
    if file is None:
        try:
            find()
        except ConfigError:
            return demo_settings(_here())
    return load(file)


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("The working folder of this shell was deleted, where the demo's data would lie. Change to another one: cd") from None
