"""The examples of docs/sensors.md and docs/notifications.md are configurations."""

from __future__ import annotations

import re
from pathlib import Path

from cupola.config.load import load

DOCS = Path(__file__).parents[2] / "docs"


def test_the_examples_of_both_pages_are_one_configuration_that_is_accepted(tmp_path: Path) -> None:
    text = "".join((DOCS / name).read_text("utf-8") for name in ("sensors.md", "notifications.md"))
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    names = set(re.findall(r"\$\{(\w+)\}", text))
    (tmp_path / "cupola.yaml").write_text("\n".join(blocks))
    (tmp_path / ".env").write_text("".join(f"{name}=secret-of-{name}\n" for name in names))
    settings = load(tmp_path / "cupola.yaml")
    assert len(settings.sensors) == 5 and len(settings.outputs) == 2 and len(settings.notify.channels) == 3
    assert names and not [name for name in names if f"secret-of-{name}" in repr(settings) + settings.model_dump_json()]
