"""The one event bus: whoever wants to know something subscribes here. Server side, one event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from cupola.core.events import Event


class Subscription:
    """Events in order, at most `size` waiting; when its reader is slower the oldest are dropped and counted."""

    def __init__(self, leave: Callable[["Subscription"], None], size: int) -> None:
        self.dropped = 0
        self._leave = leave
        self._waiting: deque[Event] = deque(maxlen=size)
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append(event)
        self._arrived.set()

    async def get(self) -> Event:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.get()


class Bus:
    """`first` may be set to what an event goes through before subscribers have it: it returns True for one that it hands out itself, later and in its turn."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self.first: Callable[[Event], bool] = lambda event: False

    def publish(self, event: Event) -> None:
        """Hand an event to every subscriber. Never blocks, never raises."""
        if not self.first(event):
            self.hand_out(event)

    def hand_out(self, event: Event) -> None:
        for subscription in self._subscriptions:
            subscription.put(event)

    def subscribe(self, size: int = 1000) -> Subscription:
        """Use as a context manager: `with bus.subscribe() as events: async for event in events: …`"""
        subscription = Subscription(self._subscriptions.discard, size)
        self._subscriptions.add(subscription)
        return subscription
