"""Who is told when something happens at the station: the group `notify`."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Secret, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, Float, key

Level = Literal["INFO", "WARNING", "ERROR", "CRITICAL"]


class Hook(Secret[str]):
    """An address that is a secret all over, as its path is the key: shown as `https://host/***`, others as `scheme://***`."""

    def _display(self) -> str:
        text = self.get_secret_value()
        scheme, _, rest = text.partition("://")
        if not rest:
            return "***" if text else ""
        host = rest.partition("/")[0].rpartition("@")[2].partition("?")[0]
        return f"{scheme}://{host}/***" if scheme in ("http", "https") else f"{scheme}://***"


def _web_address(hook: Hook) -> Hook:
    parts = urlsplit(hook.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError("web_address", "is no address that begins with http:// or https://")
    return hook


def _any_address(hook: Hook) -> Hook:
    scheme, _, rest = hook.get_secret_value().partition("://")
    if not scheme or not rest:
        raise PydanticCustomError("channel_address", "is no address of Apprise", {"hint": "write it as in tgram://TOKEN/CHAT"})
    return hook


_AS_TEXT = WithJsonSchema({"type": "string", "writeOnly": True})
WebHook = Annotated[Hook, AfterValidator(_web_address), _AS_TEXT]
ChannelHook = Annotated[Hook, AfterValidator(_any_address), _AS_TEXT]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Channel(Block):
    """One way to tell somebody: an address of Apprise, or a webhook."""

    name: str = key(
        ..., "Name", "What this channel is called in the log and on the page.", rule="letters, digits, - and _", pattern=r"^[A-Za-z0-9_-]{1,32}$"
    )
    url: ChannelHook | None = key(
        None, "Address", "Where Apprise sends it, as in tgram://TOKEN/CHAT or discord://ID/TOKEN; its documentation lists a hundred services."
    )
    webhook: WebHook | None = key(
        None, "Webhook", "In place of url: an address to which a JSON document with message, level and device_id is posted.", rule="a URL"
    )
    loopback: bool = key(False, "This machine", "Whether the address may be one of this machine, such as 127.0.0.1.")
    min_level: Level | None = key(None, "Least level", "As notify.min_level, for this channel; null: that one.")

    @model_validator(mode="after")
    def _one_address(self) -> Channel:
        if (self.url is None) == (self.webhook is None):
            raise PydanticCustomError("channel", "needs one of url and webhook", {"hint": "keep one of the two"})
        return self


class Quiet(Block):
    """The hours in which only what is urgent is told. What is not waits for their end."""

    begin: Clock = key("22:00", "Begin", "Station time at which they begin.", rule="HH:MM")
    end: Clock = key("07:00", "End", "Station time at which they end.", rule="HH:MM")
    level: Level = key("ERROR", "Urgent", "Messages of this level and above are told all the same.")

    @property
    def hours(self) -> tuple[time, time]:
        return time.fromisoformat(self.begin), time.fromisoformat(self.end)


class Heartbeat(Block):
    """A sign of life to a service that raises the alarm when it stays away, so that a dead station is noticed too."""

    url: WebHook = key(..., "Address", "Fetched again and again while Cupola runs, such as one of healthchecks.io.", rule="a URL")
    loopback: bool = key(False, "This machine", "Whether the address may be one of this machine, such as 127.0.0.1.")
    every_s: Float = key(300.0, "Every", "From one sign of life to the next.", unit="s", ge=10, le=86400)


class Notify(Block):
    """Who is told when something happens."""

    channels: list[Channel] = Field(default_factory=list[Channel], title="Channels", description="One entry a channel.", max_length=16)
    min_level: Level = key("WARNING", "Least level", "Messages below this level are not sent. INFO: also each night's summary and finished videos.")
    daily_summary: bool = key(False, "Summary", "Send the summary of each night, with its best picture, whatever min_level is.")
    quiet: Quiet | None = key(None, "Quiet hours", "When to let the owner sleep; null: never.")
    heartbeat: Heartbeat | None = key(None, "Heartbeat", "A sign of life to a service that raises the alarm when it stays away; null: none.")

    @field_validator("channels", mode="after")
    @classmethod
    def _names_differ(cls, value: list[Channel]) -> list[Channel]:
        names = [channel.name for channel in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PydanticCustomError("channel_names", 'has two channels called "{name}"', {"name": twice, "hint": "rename one of them"})
        return value
