"""A webcam in the eyes of what is above the drivers: continuous, with an exposure of its own. Each picture tells what it was taken with."""

from dataclasses import replace

from cupola.core.frame import CameraInfo, Capability
from tests.support.testcard import TestCard


class WebCard(TestCard):
    __test__ = False

    def open(self) -> CameraInfo:
        return replace(super().open(), capabilities=frozenset({Capability.VIDEO, Capability.CONTINUOUS}))
