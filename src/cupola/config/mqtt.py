"""The group `mqtt`: the broker that everything of Cupola shares. The connection is `net.mqtt`'s."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Secret, model_validator
from pydantic_core import PydanticCustomError

from cupola.config.base import Block, ConfigPath, Int, key

TOPIC_MOST = 256


def _plain(text: str) -> str:
    if not text or len(text) > TOPIC_MOST or not text.isprintable() or text.startswith("$"):
        words = {"most": TOPIC_MOST, "hint": "such as garage/door"}
        raise PydanticCustomError("topic", "is no topic: 1 to {most} printable characters, not beginning with $", words)
    return text


def _topic(text: str) -> str:
    if "+" in text or "#" in text:
        raise PydanticCustomError("topic", "has + or #, which stand for any topic; here one is named", {"hint": "such as garage/door"})
    return _plain(text)


def _filter(text: str) -> str:
    levels = text.split("/")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        words = {"hint": "+ stands for one level, # for all that follow: garage/+/state, garage/#"}
        raise PydanticCustomError("topic", "has + or # in the wrong place", words)
    return _plain(text)


Topic = Annotated[str, AfterValidator(_topic)]
TopicFilter = Annotated[str, AfterValidator(_filter)]  # MQTT 5.0, 4.7.1


class Broker(Block):
    """The MQTT broker: one connection for all that reads from it or writes to it. MQTT 5."""

    host: str = key(..., "Address", "Name or address of the broker.", rule="an IP address or host name", pattern=r"^[0-9A-Za-z.:_-]{1,253}$")
    port: Int | None = key(None, "Port", "Its TCP port; null: 1883, and 8883 with tls.", ge=1, le=65535)
    username: str | None = key(None, "User name", "null: without a login.", min_length=1, max_length=256)
    password: Secret[str] | None = key(None, "Password", "Write ${NAME} here and the password into .env.")
    tls: bool = key(False, "TLS", "Encrypted. The broker's certificate is checked.")
    ca: ConfigPath | None = key(None, "Authority", "PEM file of whoever signed the broker's certificate, if this machine does not know it; with tls.")

    discovery: Topic | None = key(
        "homeassistant", "Discovery", "Topic under which sensors are announced to Home Assistant; null: they are published, but not announced."
    )

    @property
    def port_used(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _together(self) -> Broker:
        if self.password is not None and self.username is None:
            raise PydanticCustomError("broker", "has a password, but no username", {"hint": "write the username too"})
        if self.ca is not None and not self.tls:
            raise PydanticCustomError("broker", "has ca, but no tls", {"hint": "write tls: true"})
        return self
