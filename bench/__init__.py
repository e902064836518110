"""What Cupola costs, measured from outside on running programs. Tests of what it does are in `tests`."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in the darkroom, whose steps are measured in this process; read when numpy is loaded

import numpy  # noqa: F401

del os.environ["OPENBLAS_NUM_THREADS"]  # the programs that are started set their own
