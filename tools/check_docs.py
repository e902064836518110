"""Whether the generated documents in the repository are in step with the code: `--write` makes them anew.

These are ui/openapi.json, from which the page's types are made (`npm run types`), docs/configuration.md, and the table of drivers in README.md.
What that table says of simulators and stand-ins has to be what the driver contract last ran on (tests/drivers/ran.json).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))


def openapi() -> str:
    """The OpenAPI document of the application. Routes need a runtime only once they are asked, so none runs here."""
    from cupola.web.app import create_app

    runtime = cast(Any, SimpleNamespace(addresses=None, log=lambda *_, **__: None))
    return json.dumps(create_app(runtime).openapi(), indent=1, ensure_ascii=False) + "\n"


def configuration() -> str:
    from cupola.config.schema import markdown

    return markdown()


def readme() -> str:
    """README with its table of drivers made anew; the rest is written by hand."""
    from cupola.config.matrix import markdown

    text = (ROOT / "README.md").read_text("utf-8")
    before, begin, rest = text.partition(DRIVERS_BEGIN)
    _, end, after = rest.partition(DRIVERS_END)
    return f"{before}{begin}\n\n{markdown()}{end}{after}" if begin and end else "README.md has lost its marks of the table of drivers.\n"


DRIVERS_BEGIN = "<!-- drivers: made by tools/check_docs.py from src/cupola/config/matrix.py -->"
DRIVERS_END = "<!-- /drivers -->"
DOCUMENTS = {"ui/openapi.json": openapi, "docs/configuration.md": configuration, "README.md": readme}
RAN = "tests/drivers/ran.json"


def stale(root: Path) -> dict[str, str]:
    """Documents below `root` that differ from what the code makes: path → the text it should have."""
    wanted = {name: make() for name, make in DOCUMENTS.items()}
    return {name: text for name, text in wanted.items() if not (root / name).is_file() or (root / name).read_text("utf-8") != text}


def unproven(root: Path) -> list[str]:
    """Rows of the table of drivers that the contract did not last run on, and the other way round. Hardware is no machine's to show."""
    from cupola.config.matrix import MATRIX

    file = root / RAN
    ran = {(row["driver"], row["use"], row["on"]) for row in (json.loads(file.read_text("utf-8")) if file.exists() else [])}
    told = {(row.driver, row.use, row.tried) for row in MATRIX if row.tried != "hardware"}
    return [
        *(f"The table of drivers says {_row(row)}, but {RAN} does not: run pytest tests/drivers and see." for row in sorted(told - ran)),
        *(f"{RAN} says {_row(row)}, but the table of drivers (src/cupola/config/matrix.py) does not." for row in sorted(ran - told)),
    ]


def _row(row: tuple[str, str, str]) -> str:
    driver, use, on = row
    return f"that {driver}{f' ({use})' if use else ''} was tried on a {on}"


def main(arguments: list[str] | None = None) -> int:
    """1 when a document is out of step, unless it was written anew."""
    parser = argparse.ArgumentParser(description="Check that generated documents are in step with the code.")
    parser.add_argument("--write", action="store_true", help="write those that are not")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    found = stale(given.root)
    for name, text in found.items():
        if given.write:
            (given.root / name).write_text(text, "utf-8")
            print(f"{name}: written")
        else:
            print(f"{name} is out of step with the code. Run: python tools/check_docs.py --write", file=sys.stderr)
    wrong = unproven(given.root)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if given.write and "ui/openapi.json" in found:
        print("Now make the page's types anew: python tools/build_ui.py --run types")
    return 1 if wrong or (found and not given.write) else 0


if __name__ == "__main__":
    sys.exit(main())
