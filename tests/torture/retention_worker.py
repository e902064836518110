"""Retention at work as in the server, to be killed, and a judge of what it left.

Run as `python -m tests.torture.retention_worker FOLDER`, where `fill` was before; each line on stdout is a step.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.storage.filled import CAMERA, FIRST_NIGHT, STATION, Filled

from cupola.storage import retention
from cupola.storage.reconcile import reconcile
from cupola.storage.retention import Retention

DISK_BYTES = 150_000


def fill(folder: Path, images: int) -> None:
    """Two finished nights with their products, and one that grows."""
    filled = Filled(folder, DISK_BYTES)
    with closing(filled.catalogue):
        for number, state in enumerate(("finished", "finished", "capturing")):
            period = filled.period(number, state=state)
            filled.night(number, images, period=period)
            if state == "finished":
                filled.products(period, number)


def _retention(filled: Filled) -> Retention:
    """Everything goes that may: the originals by space, the first night's images by age, the others and the products by space."""
    return filled.retention(keep=99, days={"jpg": 1.5}, now=FIRST_NIGHT + timedelta(days=2))


def work(folder: Path) -> None:
    retention.STEP_ITEMS = 4
    filled = Filled(folder, DISK_BYTES)
    with closing(filled.catalogue):
        run = _retention(filled).begin()
        while run.step():
            os.write(1, b"step\n")


def judge(folder: Path) -> list[str]:
    """Start again as the server does, and say what is wrong."""
    filled, wrong = Filled(folder, DISK_BYTES), list[str]()
    with closing(filled.catalogue):
        if filled.catalogue.problem:
            wrong.append(filled.catalogue.problem)
        listed = {file.path for row in filled.listed() for file in row.files}
        listed |= {row["path"] for row in filled.catalogue.read("SELECT path FROM product")}
        wrong += [f"{name} is listed and gone" for name in listed - filled.there()]
        for _ in range(2):  # as it is left, and after the doomed files went
            report = reconcile(filled.catalogue, filled.root, CAMERA, STATION, full=True, queue=filled.queue)
            wrong += [f"{one.file.path} came back" for one in report.adopted]
            wrong += [f"{name} is missed" for name in report.flagged_missing] + report.problems
            _retention(filled).finish()
        pictures = {name for name in filled.there() if not name.endswith("summary.json")}
        after = {file.path for row in filled.listed() for file in row.files} | {
            row["path"] for row in filled.catalogue.read("SELECT path FROM product")
        }
        wrong += [f"{name} is not listed and there" for name in pictures - after]
        growing = [row for row in filled.listed() if row.period == 3]
        wrong += ["an image of the growing night is gone"] * (len(growing) != filled.catalogue.last_sequence(CAMERA) // 3)
        wrong += filled.catalogue.integrity_check()
        run = _retention(filled).begin()  # it goes on where it was
        while run.step():
            pass
        wrong += [f"{name} was left" for name in filled.there() if "/03/jpg/" not in name]
    return wrong


if __name__ == "__main__":
    work(Path(sys.argv[1]))
