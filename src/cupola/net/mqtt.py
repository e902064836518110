"""The one connection to the owner's MQTT broker, shared by all that reads from it or writes to it.

    mqtt = Mqtt(settings.mqtt, client_id, log)
    mqtt.will("cupola/north/state", gone="offline", here="online")      # before `run`
    heard = mqtt.subscribe("garage/+/state", lambda message: ...)       # any time; the callback runs in the loop and must not block
    mqtt.publish("cupola/north/last", b"...", retain=True)              # any time, never waits
    await mqtt.run()                                                    # its task: connects, and again whenever it is lost

What is retained is state: the newest value of each topic is sent again with every connection. The rest is news: it goes while there is
a connection, or is dropped and counted. Paho's own thread does the sending and receiving (its asyncio wrapper needs an event loop that
cannot start child processes on Windows); all calls and callbacks here are in the server's loop. MQTT 5, so that the broker keeps back what
is larger than we take.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cupola.config.mqtt import Broker
from cupola.core.clock import utc_now

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

PAYLOAD_MOST = 1 << 16  # bytes; the broker discards larger messages
KEEPALIVE_S = 20
ANSWER_S = 10.0  # for the broker to accept a connection
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
WAITING_MOST = 1000  # messages that arrived faster than they are taken
GOODBYE_S = 2.0
_REFUSED = 0x80  # reason codes from here on are failures (MQTT 5.0, 2.4)
_WORDS = {
    132: "does not speak MQTT 5. Use a broker that does, such as Mosquitto 1.6 or newer.",
    134: "refuses user name or password. Check mqtt.username and mqtt.password.",
    135: "refuses this user. Check mqtt.username and mqtt.password, and what the broker allows this user.",
    142: "was given a second connection of the same name: two stations run with the same state folder.",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One that arrived. `retained`: the topic's last value, told because we subscribed, not because it happened now."""

    topic: str
    payload: bytes
    retained: bool
    asked: tuple[int, ...] = ()  # the numbers of the subscriptions it comes by


class Subscription:
    """What `subscribe` gives; `problem` in words while the broker refuses it."""

    def __init__(self, topic: str, take: Callable[[Message], None]) -> None:
        self.topic, self.take = topic, take
        self.problem: str | None = None


class Mqtt:
    """`connected`, `since` and `problem` say how the connection is; `dropped` counts news that nobody got."""

    def __init__(self, broker: Broker, client_id: str, log: Callable[..., None]) -> None:
        self._broker, self._client_id, self._log = broker, client_id, log
        self._topics: list[str] = []  # each is subscribed to under its place in here, from 1 on
        self._subscriptions: defaultdict[str, list[Subscription]] = defaultdict(list)
        self._asked: dict[int, str] = {}  # topics, by the number of the request
        self._numbered = True  # the broker says by which subscription a message comes
        self._kept: dict[str, tuple[bytes, int]] = {}  # what is retained
        self._will: tuple[str, bytes, bytes] | None = None
        self._client: Client | None = None
        self._arrived: deque[Message] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = ThreadPoolExecutor(1, "mqtt")  # for what of a connection blocks
        self._changed = asyncio.Event()  # it came about, or ended
        self._over = False
        self.connected = False
        self.since: datetime = utc_now()
        self.problem: str | None = "not connected yet"
        self.dropped = 0

    @property
    def where(self) -> str:
        return f"{self._broker.host}:{self._broker.port_used}"

    def will(self, topic: str, *, gone: str, here: str) -> None:
        """Keep a retained topic that says whether we are there: the broker itself writes `gone` when we vanish."""
        self._will = (topic, gone.encode(), here.encode())

    def subscribe(self, topic: str, take: Callable[[Message], None]) -> Subscription:
        """Have `take` called with each message of a topic (+ and # allowed), from now on and after each loss of the connection."""
        heard = Subscription(topic, take)
        if topic not in self._topics:
            self._topics.append(topic)
        self._subscriptions[topic].append(heard)
        if self.connected:
            self._ask(topic)
        return heard

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False, qos: int = 0) -> bool:
        """Hand a message on; False when there is no connection. A retained one is then sent when there is."""
        data = payload.encode() if isinstance(payload, str) else payload
        if retain:
            self._kept[topic] = (data, qos)
        sent = self.connected and self._client is not None and not self._client.publish(topic, data, qos, retain).rc
        if not sent and not retain:
            self.dropped += 1
        return sent

    async def run(self) -> None:
        """Until cancelled; then we say goodbye to the broker."""
        self._loop = asyncio.get_running_loop()
        attempt, told = 0, None
        while True:
            began = self._loop.time()
            problem = await self._connection()
            held = self._loop.time() - began > PAUSES_S[-1]
            attempt = 0 if held else min(attempt + 1, len(PAUSES_S) - 1)
            if held or problem != told:
                self._log("WARNING", f"The MQTT broker {self.where} {problem}", event="mqtt")
            told = problem
            self._is(False, problem)
            await asyncio.sleep(PAUSES_S[attempt])

    def _is(self, connected: bool, problem: str | None) -> None:
        if connected != self.connected:
            self.since = utc_now()
        self.connected, self.problem = connected, problem

    async def _connection(self) -> str:
        """One connection, from its beginning to its end; why it ended, or did not come about."""
        self._over, self._changed = False, asyncio.Event()
        client, loop = None, asyncio.get_running_loop()
        try:
            client = await loop.run_in_executor(self._thread, self._open)
            client.loop_start()
            try:
                await asyncio.wait_for(self._changed.wait(), ANSWER_S)
            except TimeoutError:
                return f"did not answer within {ANSWER_S:.0f} s."
            while not self._over:
                self._changed.clear()
                await self._changed.wait()
            return self.problem or "ended the connection."
        except (OSError, ValueError) as error:
            return _why(error)
        finally:
            self._client = None
            if client is not None:
                await asyncio.shield(loop.run_in_executor(self._thread, self._leave, client))

    def _open(self) -> Client:
        """In a thread: looks up the name, connects, sends the first packet."""
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        told = self._tell

        class Connection(Client):
            def loop_forever(self, *args: Any, **kwargs: Any) -> MQTTErrorCode:
                try:
                    return super().loop_forever(*args, **kwargs)
                except Exception as error:  # whatever the broker sent: it must not end the thread without a word
                    told(self, mine._ended, f"sent what could not be understood ({type(error).__name__}).")
                    return MQTTErrorCode.MQTT_ERR_PROTOCOL
                finally:
                    told(self, mine._ended, None)

        mine, broker = self, self._broker
        client = Connection(CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTv5, reconnect_on_failure=False)
        client.max_queued_messages_set(WAITING_MOST)
        client.on_connect = lambda _c, _u, _f, reason, limits: told(client, self._accepted, reason.value, str(reason), limits)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: told(client, self._dismissed, reason.value, str(reason))
        client.on_subscribe = lambda _c, _u, number, reasons, _p: told(client, self._granted, number, [reason.value for reason in reasons])
        client.on_message = lambda _c, _u, message: self._take(client, message)
        if broker.username is not None:
            client.username_pw_set(broker.username, None if broker.password is None else broker.password.get_secret_value())
        if broker.tls:
            client.tls_set_context(ssl.create_default_context(cafile=broker.ca))
        if self._will is not None:
            client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        limits = Properties(PacketTypes.CONNECT)
        limits.MaximumPacketSize = PAYLOAD_MOST + 1024
        self._client = client
        try:
            client.connect(broker.host, broker.port_used, KEEPALIVE_S, clean_start=True, properties=limits)
        except BaseException:
            _forget(client)
            raise
        return client

    # From paho's thread

    def _tell(self, client: Client, what: Callable[..., None], *values: Any) -> None:
        """Have it done in the loop, if that connection is still the one there is."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: what(*values) if client is self._client else None)

    def _take(self, client: Client, message: MQTTMessage) -> None:
        if len(self._arrived) >= WAITING_MOST:
            self.dropped += 1
            return
        asked = tuple(getattr(message.properties, "SubscriptionIdentifier", ()))
        self._arrived.append(Message(message.topic, bytes(message.payload), message.retain, asked))
        self._tell(client, self._hand_out)

    # In the loop

    def _accepted(self, reason: int, words: str, limits: Any) -> None:
        if reason >= _REFUSED:
            self._ended(_WORDS.get(reason, f"refuses the connection: {words}."))
            return
        self._is(True, None)
        self._changed.set()
        self._log("INFO", f"Connected with the MQTT broker {self.where}.", event="mqtt")
        self._numbered = getattr(limits, "SubscriptionIdentifierAvailable", 1) == 1
        for topic in self._topics:
            self._ask(topic)
        if self._will is not None:
            self.publish(self._will[0], self._will[2], retain=True, qos=1)
        for topic, (data, qos) in self._kept.items():
            if self._client is not None and (self._will is None or topic != self._will[0]):
                self._client.publish(topic, data, qos, retain=True)

    def _dismissed(self, reason: int, words: str) -> None:
        self._ended(_WORDS.get(reason, f"ended the connection: {words}." if reason else "ended the connection."))

    def _ended(self, problem: str | None) -> None:
        if not self._over:
            self._is(False, problem or "ended the connection.")
        self._over = True
        self._changed.set()

    def _ask(self, topic: str) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties
        from paho.mqtt.subscribeoptions import SubscribeOptions

        number = None
        if self._numbered:  # where two topics overlap the broker may send a message twice: this tells which copy is whose
            number = Properties(PacketTypes.SUBSCRIBE)
            number.SubscriptionIdentifier = self._topics.index(topic) + 1
        if self._client is not None:
            result, request = self._client.subscribe(topic, options=SubscribeOptions(qos=1), properties=number)
            if not result and request is not None:
                self._asked[request] = topic

    def _granted(self, request: int, reasons: list[int]) -> None:
        topic = self._asked.pop(request, "")
        refused = any(reason >= _REFUSED for reason in reasons)
        problem = f"The MQTT broker {self.where} does not let this user read {topic}." if refused else None
        if problem is not None:
            self._log("WARNING", problem, event="mqtt")
        for heard in self._subscriptions.get(topic, ()):
            heard.problem = problem

    def _hand_out(self) -> None:
        from paho.mqtt.client import topic_matches_sub

        while self._arrived:
            message = self._arrived.popleft()
            if message.asked:
                topics = [self._topics[number - 1] for number in message.asked if 0 < number <= len(self._topics)]
            else:
                topics = [topic for topic in self._topics if topic_matches_sub(topic, message.topic)]
            for heard in [heard for topic in topics for heard in self._subscriptions[topic]]:
                try:
                    heard.take(message)
                except Exception as error:  # a mistake of one listener must not cost the others their message
                    self._log("ERROR", f"What to do with a message of {message.topic} failed: {type(error).__name__}: {error}", event="mqtt")

    # In a thread

    def _leave(self, client: Client) -> None:
        """End a connection. An orderly end does not make the broker tell our will, so we do."""
        with suppress(RuntimeError, ValueError):
            if client.is_connected() and self._will is not None:
                client.publish(self._will[0], self._will[1], qos=1, retain=True).wait_for_publish(GOODBYE_S)
        client.disconnect()
        client.loop_stop()
        _forget(client)


def client_id_for(station: str, state: Path) -> str:
    """The name a station has at its broker: the same after each start, and unlike that of any other machine or state folder."""
    mark = hashlib.sha256(f"{uuid.getnode():x} {state.absolute()}".encode()).hexdigest()
    return f"cupola-{station}-{mark[:8]}"


def _forget(client: Client) -> None:
    """Let go of what refers to the client, so that it closes its sockets now and not when the garbage is collected."""
    client.on_connect = client.on_disconnect = client.on_subscribe = client.on_message = None


def _why(error: OSError | ValueError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"has a certificate that this machine does not trust ({error.verify_message}). Name its authority's file as mqtt.ca."
        case ssl.SSLError():
            return "does not speak TLS there. Check mqtt.port and mqtt.tls."
        case ConnectionRefusedError():
            return "refuses connections: it does not run, or not there. Check mqtt.host and mqtt.port."
        case TimeoutError():
            return "cannot be reached: nothing answers. Check mqtt.host, and that it is switched on."
        case OSError() if type(error).__name__ == "gaierror":
            return "is unknown: its name has no address. Check mqtt.host."
        case FileNotFoundError():
            return "was not asked: the file mqtt.ca does not exist."
        case _:
            return f"cannot be reached: {getattr(error, 'strerror', None) or error}."
