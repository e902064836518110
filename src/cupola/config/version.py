"""Which version of the keys a file is written for, and how one of an older version becomes one of this.

The file is never written: it is brought up in memory, each time it is read, before variables of the environment, whose names are always today's,
override it. A new key needs no new version, since it has a default. Where one is renamed, goes, or means something else, VERSION
rises by one, and STEPS gets what that takes. What keys there are is `model`'s business.
"""

from collections.abc import Callable, Mapping

from cupola import __version__
from cupola.config.document import Document
from cupola.config.problems import ConfigProblems

VERSION = 1
Step = Callable[[Document], None]  # changes `data`; moves in `origins` what it moves there, so that messages name the line
STEPS: dict[int, Step] = {}  # by the version that it begins with


def bring_up(document: Document, steps: Mapping[int, Step] = STEPS, newest: int = VERSION) -> None:
    """Make a group of keys one of the version `newest`, step by step; without a version it is of the first.

    Raises ConfigProblems for a newer one, with nothing else: what its keys mean is not known here. What is no version is left to the model.
    """
    version = document.data.setdefault("version", 1)
    if type(version) is not int or version < 1:
        return
    if version > newest:
        told = f"is {version}, of a newer Cupola: this one, {__version__}, knows versions up to {newest}"
        document.problems.clear()
        document.report(("version",), told, "update Cupola, or go back to the file that was used with this one")
        raise ConfigProblems(document.problems)
    for before in range(version, newest):
        steps[before](document)
    document.data["version"] = newest
