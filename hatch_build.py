"""The wheel's build hook: the web UI is built before it is packed, so that installing the wheel needs no Node.

How it is built is tools/build_ui.py's business.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildUi(BuildHookInterface):
    """Builds ui/ into src/cupola/web/static, unless that already holds what these sources give."""

    @property
    def _tool(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("cupola_build_ui", Path(self.root) / "tools" / "build_ui.py")
        assert spec is not None
        assert spec.loader is not None
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        return tool

    def dependencies(self) -> list[str]:
        """What an isolated build needs besides hatchling: Node as a wheel, where there is work for it and no other."""
        tool, root = self._tool, Path(self.root)
        return [] if tool.is_current(root) or tool.system_node() else [tool.pinned_node(root)]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files, for a wheel and for an editable install alike."""
        self._tool.build(Path(self.root))
