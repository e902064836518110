"""python-gphoto2 for a camera process of a test, with a virtual Nikon that also makes raw files.

Put this folder first in PYTHONPATH. The format of its raw files is the test's: `RAW_FILE` names the file with the bytes of
each, `RAW_FORMAT` is what the camera is set to (`NEF+Fine` or `NEF (Raw)`).
"""

import importlib
import os
import sys
from pathlib import Path

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
del sys.modules[__name__]
importlib.import_module("gphoto2")  # the real one, which the fake stands before
sources = importlib.import_module("tests.drivers.gphoto_sources")
chosen = os.environ["RAW_FORMAT"]
sys.modules[__name__] = sources.Extras(
    {"imagequality": sources.Widget(chosen, ("JPEG Fine", chosen))},
    raw=Path(os.environ["RAW_FILE"]).read_bytes(),
    raw_only="+" not in chosen,
).module()
