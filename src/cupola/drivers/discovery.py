"""Looks for one driver's cameras in a process of its own: `python -m cupola.drivers.discovery MODULE`.

A vendor's library may hang, crash, or print where it likes; whoever started this process reads one JSON object
from its standard output: `found` (a list of `Found`; null when the driver cannot look), or `kind` and `message`
of what kept it from looking. Which drivers there are is known to `camera.discovery`.
"""

import importlib
import json
import os
import sys
from dataclasses import asdict
from typing import Any

from cupola.core.errors import CupolaError


def look(module: str) -> dict[str, Any]:
    """What a driver's module finds. Everything that can go wrong in it is told, not raised."""
    try:
        discover = getattr(importlib.import_module(module), "discover", None)
        return {"found": None if discover is None else [asdict(found) for found in discover()]}
    except CupolaError as error:
        return {"kind": error.kind, "message": str(error)}
    except ImportError as error:
        return {"kind": "library_missing", "message": f"{error.name or error} is not installed for {sys.executable}."}
    except Exception as error:
        return {"kind": "error", "message": f"Looking for its cameras failed: {error!r}."}


def main(arguments: list[str]) -> int:
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no part of the answer
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(look(arguments[0]), out, default=str)
    sys.stdout.flush()
    os._exit(0)  # a library may leave threads behind that would hold the exit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
