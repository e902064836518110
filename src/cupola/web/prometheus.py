"""The metrics in the formats of Prometheus' own library, with what that knows of this process besides. Imported at the first scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cupola.status.metrics import Family


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name.removesuffix("_total") if family.kind == "counter" else family.name, family.help, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, labels, value)
            yield metric


class _Together(Collector):
    """Of a scrape: the station's families and the process's."""

    def __init__(self, *parts: Collector) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part.collect()


_PROCESS = CollectorRegistry(auto_describe=False)
for _collector in (ProcessCollector, PlatformCollector, GCCollector):
    _collector(registry=_PROCESS)


def exposition(families: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """The text, and its Content-Type, as the Accept header wishes."""
    encode, kind = choose_encoder(accept)
    return encode(_Together(_Families(families), _PROCESS)), kind
