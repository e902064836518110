"""Which settings a command works with."""

from __future__ import annotations

from pathlib import Path

from cupola.config.load import demo_settings, find, load
from cupola.config.model import Settings
from cupola.core.errors import ConfigError


def settings_for(file: Path | None, *, demo: bool) -> Settings:
    """The configuration, or the demo when there is none or it was asked for. Raises ConfigError."""
    if demo:
        return demo_settings(Path.cwd())
    if file is None:
        try:
            find()
        except ConfigError:
            return demo_settings(Path.cwd())
    return load(file)
