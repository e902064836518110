"""What is worth telling, from what happens: troubles that begin and end, each told once however often it shows.

Pure: events and moments go in, notices come out. Which event means what is written in `watch.meaning`; who is told, when
(quiet hours) and how is the business of `watch.notify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from cupola.config.notify import Level

LEVELS: tuple[Level, ...] = get_args(Level)
REFILL_S = 600.0  # a trouble that comes and goes is told of again so often at most
BURST = 3  # of a trouble that lasts: begun, worse, over
PER_HOUR = 30  # messages of the whole station; after that they come as one


def rank(level: Level) -> int:
    return LEVELS.index(level)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `kind`: the event behind it, or `recovered`, `digest`, `test`. `reach`: who gets messages of this level gets it; a recovery
    is INFO, but goes where its trouble went. `at` in Unix seconds; `picture`: relative to storage.root. `facts`: the event as JSON types.
    """

    kind: str
    level: Level
    reach: Level
    at: float
    title: str
    text: str
    picture: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def dumped(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sign:
    """What an event means. `begun`: a trouble that lasts until it is `over`; `once`: something to be told by itself.
    Signs of one `key` are about the same thing; `group`: those that may be told together.
    """

    sort: Literal["begun", "over", "once"]
    key: str
    kind: str
    title: str
    text: str
    level: Level = "WARNING"
    picture: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class _Bucket:
    """So many at once, and one more after each `refill_s`."""

    def __init__(self, size: float, refill_s: float) -> None:
        self.size, self._refill_s = size, refill_s
        self._left, self._at = size, float("inf")

    def left(self, now: float) -> float:
        self._left = min(self.size, self._left + max(0.0, now - self._at) / self._refill_s)
        self._at = now
        return self._left

    def wait_s(self, now: float) -> float:
        return max(0.0, (1.0 - self.left(now)) * self._refill_s)

    def take(self, now: float) -> None:
        self._left = self.left(now) - 1.0


@dataclass(slots=True)
class _Topic:
    sign: Sign  # the newest that says something bad
    at: float  # when it began, Unix seconds
    bucket: _Bucket
    active: bool = False
    told: Level | None = None  # of the trouble that was told and is not yet told to be over
    times: int = 0  # since it was told last
    news: bool = False
    ended: Sign | None = None


class Notices:
    """`mono` is a monotonic clock in seconds, `at` the wall clock in Unix seconds."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._all = _Bucket(PER_HOUR, 3600.0 / PER_HOUR)

    def hear(self, sign: Sign, mono: float, at: float) -> None:
        topic = self._topics.get(sign.key)
        if sign.sort == "over":
            if topic is not None and topic.active:
                topic.active, topic.ended, topic.news = False, sign, True
            return
        if topic is None:
            self._forget_old(mono)
            topic = self._topics[sign.key] = _Topic(sign, at, _Bucket(BURST if sign.sort == "begun" else 1, REFILL_S))
        lasting = sign.sort == "begun"
        if not topic.active and topic.told is None:
            topic.at = at
        topic.sign, topic.active = sign, lasting
        topic.times += 1
        topic.news = not lasting or topic.told is None or rank(sign.level) > rank(topic.told)

    def open(self) -> dict[str, dict[str, Any]]:
        """Troubles that were told and not yet told to be over, as JSON types, to be given to `take_up` after a restart."""
        return {
            key: {
                "sign": asdict(topic.sign),
                "ended": None if topic.active else asdict(topic.ended or topic.sign),
                "at": topic.at,
                "told": topic.told,
            }
            for key, topic in self._topics.items()
            if topic.told
        }

    def take_up(self, troubles: Mapping[str, Mapping[str, Any]]) -> None:
        for key, facts in troubles.items():
            ended = facts["ended"] and Sign(**facts["ended"])
            bucket = _Bucket(BURST, REFILL_S)
            self._topics[key] = _Topic(Sign(**facts["sign"]), facts["at"], bucket, ended is None, facts["told"], 0, ended is not None, ended)

    def wait_s(self, mono: float) -> float | None:
        """Until something is due: 0, it is; None: nothing is."""
        waits = [topic.bucket.wait_s(mono) for topic in self._topics.values() if topic.news]
        return max(min(waits), self._all.wait_s(mono)) if waits else None

    def due(self, mono: float, at: float) -> list[Notice]:
        """What is to be told now. Several of one kind and level come as one; beyond the limit of an hour all do."""
        ready = [topic for topic in self._topics.values() if topic.news and topic.bucket.wait_s(mono) <= 0]
        if not ready or self._all.wait_s(mono) > 0:
            return []
        groups: dict[tuple[Any, ...], list[Notice]] = {}
        for number, topic in enumerate(ready):
            topic.bucket.take(mono)
            for notice in self._of(topic, at):
                alone = number if notice.picture else None
                groups.setdefault((notice.kind, notice.level, notice.reach, alone), []).append(notice)
        told = [merged(group) for group in groups.values()]
        if len(told) > self._all.left(mono):
            told = [merged(told)]
        for _ in told:
            self._all.take(mono)
        return told

    def _of(self, topic: _Topic, at: float) -> list[Notice]:
        sign, times, topic.times, topic.news = topic.sign, topic.times, 0, False
        often = f" ({times} times)" if times > 1 else ""
        if sign.sort == "once":
            return [Notice(sign.kind, sign.level, sign.level, at, sign.title, sign.text + often, sign.picture, sign.facts)]
        bad = Notice(sign.kind, sign.level, sign.level, topic.at, sign.title, sign.text + often, sign.picture, sign.facts)
        if topic.active:
            topic.told = sign.level
            return [bad]
        assert topic.ended is not None
        reach, topic.told = topic.told or sign.level, None
        ended, lasted = topic.ended, duration(max(0.0, at - topic.at))
        text = f"{ended.text} It lasted {lasted}{often}."
        return [Notice("recovered", "INFO", reach, at, ended.title, text, None, {"of": sign.kind, **ended.facts})]

    def _forget_old(self, mono: float) -> None:
        """What is over, told, and long enough ago to be told anew at once."""
        full = [key for key, topic in self._topics.items() if not topic.active and not topic.news and topic.bucket.left(mono) >= topic.bucket.size]
        for key in full:
            del self._topics[key]


def merged(notices: list[Notice]) -> Notice:
    """Several as one: of the highest level, with a line for each; pictures stay behind."""
    if len(notices) == 1:
        return notices[0]
    worst = max(notices, key=lambda one: rank(one.level))
    reach = LEVELS[max(rank(one.reach) for one in notices)]
    kinds = {one.kind for one in notices}
    lines = [f"{one.title}: {one.text}" for one in notices]
    return replace(
        worst,
        kind=worst.kind if len(kinds) == 1 else "digest",
        reach=reach,
        title=worst.title if len({one.title for one in notices}) == 1 else f"{len(notices)} messages",
        text="\n".join(lines),
        picture=None,
        facts={"messages": [dict(one.facts) for one in notices]},
    )


def duration(seconds: float) -> str:
    """For people: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
