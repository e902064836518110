"""The connection to a broker, with a real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.mosquitto import Mosquitto, until

from cupola.config.load import from_text
from cupola.config.mqtt import Broker
from cupola.config.problems import ConfigProblems
from cupola.net import mqtt as module
from cupola.net.mqtt import Message, Mqtt, client_id_for
from cupola.web.tls import certificate_for


class Log(list[tuple[str, str]]):
    def __call__(self, level: str, message: str, **_: Any) -> None:
        self.append((level, message))


@asynccontextmanager
async def connection(port: int, *, name: str = "ours", prepare: Callable[[Mqtt], None] = lambda _: None, **keys: Any) -> AsyncIterator[Mqtt]:
    mqtt = Mqtt(Broker(host="127.0.0.1", port=port, **keys), name, log := Log())
    mqtt.told = log  # type: ignore[attr-defined]
    prepare(mqtt)
    task = asyncio.create_task(mqtt.run())
    try:
        yield mqtt
    finally:
        assert not task.done(), "nothing may end it but its owner"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.05, 0.1))


@pytest.fixture
def broker(tmp_path: Path):
    with Mosquitto(tmp_path) as running:
        yield running


async def test_what_is_published_is_heard_by_those_who_asked(broker: Mosquitto) -> None:
    heard: list[Message] = []
    wide: list[Message] = []
    async with connection(broker.port) as mqtt:
        mqtt.subscribe("garage/door", heard.append)
        await until(lambda: mqtt.connected)
        mqtt.subscribe("garage/+", wide.append)
        assert mqtt.publish("garage/door", "open") and mqtt.publish("garage/light", b"on", qos=1) and mqtt.publish("cellar/door", "open")
        await until(lambda: len(wide) == 2)
        assert [(message.topic, message.payload, message.retained) for message in heard] == [("garage/door", b"open", False)]


async def test_a_broker_that_is_down_is_waited_for(tmp_path: Path) -> None:
    broker, heard = Mosquitto(tmp_path), list[Message]()
    async with connection(broker.port) as mqtt:
        mqtt.subscribe("door", heard.append)
        await until(lambda: mqtt.problem is not None and "refuses connections" in mqtt.problem)
        assert not mqtt.publish("door", "lost") and mqtt.dropped == 1
        mqtt.publish("state", "kept", retain=True)
        with broker:
            await until(lambda: mqtt.connected)
            mqtt.subscribe("state", heard.append)
            mqtt.publish("door", "open")
            await until(lambda: len(heard) == 2)
            assert {message.payload for message in heard} == {b"kept", b"open"}


async def test_a_broker_that_dies_is_found_again_with_all_that_was_asked_and_kept(tmp_path: Path) -> None:
    broker, heard = Mosquitto(tmp_path), list[Message]()
    with broker:
        async with connection(broker.port) as mqtt:
            mqtt.subscribe("door", heard.append)
            mqtt.publish("state", "1", retain=True)
            await until(lambda: mqtt.connected)
            mqtt.publish("state", "2", retain=True)
            broker.kill()
            await until(lambda: not mqtt.connected)
            broker.start()
            await until(lambda: mqtt.connected)
            mqtt.publish("door", "open")
            mqtt.subscribe("state", heard.append)
            await until(lambda: len(heard) == 2)
            assert {message.payload for message in heard} == {b"open", b"2"}
            assert [level for level, _ in mqtt.told].count("WARNING") <= 2, "the same trouble is told once"  # type: ignore[attr-defined]


async def test_a_wrong_password_is_said_so_and_tried_again(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"cupola": "right"}) as broker:
        async with connection(broker.port, username="cupola", password="wrong") as mqtt:
            await until(lambda: mqtt.problem is not None and "mqtt.password" in mqtt.problem)
            assert "wrong" not in str(mqtt.told)  # type: ignore[attr-defined]
        async with connection(broker.port, username="cupola", password="right") as mqtt:
            await until(lambda: mqtt.connected)


async def test_a_topic_that_may_not_be_read_is_said_so(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, reads=["open/#"]) as broker:
        async with connection(broker.port) as mqtt:
            good = mqtt.subscribe("open/door", lambda _: None)
            bad = mqtt.subscribe("secret/door", lambda _: None)
            heard: list[Message] = []
            mqtt.subscribe("open/door", heard.append)
            await until(lambda: mqtt.connected)
            mqtt.publish("open/door", "x")
            await until(lambda: heard)
            # Mosquitto 2.0 grants a subscription that its list forbids, and sends nothing; a broker that refuses is told as a problem
            assert good.problem is None
            mqtt._asked[9] = "secret/door"
            mqtt._granted(9, [135])
            assert bad.problem and "secret/door" in bad.problem


async def test_a_huge_message_is_kept_back_by_the_broker_and_the_next_one_comes(broker: Mosquitto) -> None:
    heard: list[Message] = []
    async with connection(broker.port) as mqtt, connection(broker.port, name="other") as other:
        mqtt.subscribe("#", heard.append)
        await until(lambda: mqtt.connected and other.connected)
        assert other.publish("big", b"x" * 20_000_000)
        assert other.publish("garbage", bytes(range(256)))
        await until(lambda: heard)
        assert [(message.topic, message.payload) for message in heard] == [("garbage", bytes(range(256)))] and mqtt.connected


async def test_a_listener_that_fails_costs_the_others_nothing(broker: Mosquitto) -> None:
    heard: list[Message] = []

    def broken(_: Message) -> None:
        raise KeyError("mine")

    async with connection(broker.port) as mqtt:
        mqtt.subscribe("door", broken)
        mqtt.subscribe("door", heard.append)
        await until(lambda: mqtt.connected)
        mqtt.publish("door", "open")
        await until(lambda: heard)
        assert any(level == "ERROR" and "KeyError" in words for level, words in mqtt.told)  # type: ignore[attr-defined]


async def test_the_broker_says_when_we_vanish_and_we_when_we_leave(broker: Mosquitto) -> None:
    states: list[bytes] = []
    async with connection(broker.port, name="watcher") as watcher:
        watcher.subscribe("us", lambda message: states.append(message.payload))
        await until(lambda: watcher.connected)
        async with connection(broker.port, prepare=lambda mqtt: mqtt.will("us", gone="offline", here="online")) as mqtt:
            await until(lambda: states == [b"online"])
            assert mqtt._client is not None
            sock = mqtt._client.socket()
            assert isinstance(sock, socket.socket)
            sock.shutdown(socket.SHUT_RDWR)  # as if the cable was pulled
            await until(lambda: states == [b"online", b"offline", b"online"])
        await until(lambda: states[3:] == [b"offline"])


async def test_a_thing_that_is_no_broker_ends_in_words() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x20\xff\xff\xff\x7fHTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)) * 10)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, connection(server.sockets[0].getsockname()[1]) as mqtt:
        await until(lambda: mqtt.problem not in (None, "not connected yet"))
        assert mqtt.problem and mqtt.problem[-1] == "."


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_a_certificate_that_nobody_vouches_for_is_refused_and_one_that_ca_names_is_not(tmp_path: Path) -> None:
    from cupola.config.model import Tls

    made = certificate_for(Tls(mode="self_signed"), tmp_path, [])
    assert made is not None
    with Mosquitto(tmp_path, tls=(made.certificate, made.key)) as broker:
        async with connection(broker.port, tls=True) as mqtt:
            await until(lambda: mqtt.problem is not None and "mqtt.ca" in mqtt.problem)
        async with connection(broker.port, tls=True, ca=made.certificate) as mqtt:
            await until(lambda: mqtt.connected or "mqtt.ca" in str(mqtt.problem))
            assert mqtt.connected, mqtt.problem
    with Mosquitto(tmp_path) as plain:
        async with connection(plain.port, tls=True) as mqtt:
            await until(lambda: mqtt.problem is not None and mqtt.problem != "not connected yet")
            assert not mqtt.connected


def test_a_station_keeps_its_name_at_the_broker_and_no_two_share_one(tmp_path: Path) -> None:
    assert client_id_for("north", tmp_path) == client_id_for("north", tmp_path) != client_id_for("north", tmp_path / "other")


def wrong(text: str, base: Path) -> str:
    with pytest.raises(ConfigProblems) as caught:
        from_text(text, "cupola.yaml", base)
    return str(caught.value)


def test_keys_of_the_broker_that_do_not_go_together_are_refused_in_words(tmp_path: Path) -> None:
    assert "no username" in wrong("mqtt: {host: broker, password: secret1}", tmp_path)
    assert "tls: true" in wrong("mqtt: {host: broker, ca: broker.pem}", tmp_path)
    settings = from_text("mqtt: {host: broker, tls: true, username: us, password: secret1}", "cupola.yaml", tmp_path)
    assert settings.mqtt is not None and settings.mqtt.port_used == 8883 and "secret1" not in settings.model_dump_json() + repr(settings)
