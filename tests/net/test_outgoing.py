"""Requests of our own, to servers that behave and to ones that don't."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cupola.config.model import Tls
from cupola.core.reach import why_refused
from cupola.net.outgoing import Refused, Unreachable, addresses, place, request
from cupola.web.tls import certificate_for

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: bytes | Answer, **more: Any) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers each request so; its URL, and the requests that came."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        asked.append(head + await reader.readexactly(length))
        try:
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **more)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def reply(body: bytes, head: str = "200 OK\r\n") -> bytes:
    return f"HTTP/1.1 {head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_an_answer_comes_with_status_headers_and_body() -> None:
    async with answering(reply(b'{"fault": 7}', "418 I'm a teapot\r\nX-Robot: 9\r\n")) as (where, asked):
        got = await request(f"http://robot:se%20cret@{where}/status?part=1", loopback=True)
        assert (got.status, got.body, got.headers["x-robot"]) == (418, b'{"fault": 7}', "9")
        assert asked[0].startswith(b"GET /status?part=1 HTTP/1.1\r\n") and b"Basic cm9ib3Q6c2UgY3JldA==" in asked[0]
        assert f"host: {where}\r\n".encode() in asked[0].lower()


async def test_a_body_and_headers_are_sent() -> None:
    async with answering(reply(b"")) as (where, asked):
        await request(f"http://{where}", method="POST", body=b'{"kind": 1}', headers={"Content-Type": "application/json"}, loopback=True)
        assert asked[0].startswith(b"POST / HTTP/1.1\r\n") and asked[0].endswith(b'\r\n\r\n{"kind": 1}') and b"application/json" in asked[0]


async def test_an_answer_in_chunks_and_one_without_a_length_are_read_to_the_end() -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
    ):
        async with answering(answer) as (where, _):
            assert (await request(f"http://{where}", loopback=True)).body == b"abcde"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "elsewhere"),
        (reply(b"x" * 2000), "more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "HTTP"),
        (b"\x00\xff garbage\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "HTTP"),
        (b"", "ended before an answer"),
    ],
)
async def test_answers_that_cannot_be_used_end_in_words(answer: bytes, said: str) -> None:
    async with answering(answer) as (where, _):
        with pytest.raises(Unreachable, match=said):
            await request(f"http://{where}/secret-path", loopback=True, most_bytes=1000)


async def test_a_server_that_trickles_is_left_at_the_deadline() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n" * 100:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with answering(trickle) as (where, _):
        with pytest.raises(Unreachable, match="within"):
            await asyncio.wait_for(request(f"http://{where}", loopback=True, timeout_s=0.3), 5)


async def test_nobody_there_is_said_without_the_secrets_of_the_url() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://user:password@127.0.0.1:{sock.getsockname()[1]}/hook/token?key=secret"
        with pytest.raises(Unreachable) as caught:
            await request(url, loopback=True)
    assert all(secret not in str(caught.value) for secret in ("user", "password", "token", "secret"))
    assert place("https://a:b@[fd00::1]:81/x?y") == "https://[fd00::1]:81"


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    import ssl

    made = certificate_for(Tls(mode="self_signed"), tmp_path, [])
    assert made is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    async with answering(reply(b""), ssl=context) as (where, _):
        with pytest.raises(Unreachable, match="does not trust"):
            await request(f"https://{where}", loopback=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "127.9.9.9"])
async def test_this_machine_is_asked_only_where_that_is_allowed(host: str) -> None:
    async with answering(reply(b"")) as (where, asked):
        with pytest.raises((Refused, Unreachable)):
            await request(f"http://{host}:{where.partition(':')[2]}/")
        assert asked == []


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "169.254.1.1", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1",
                "255.255.255.255", "ff02::1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]
)  # fmt: skip
def test_addresses_of_metadata_services_and_of_many_machines_are_never_asked(address: str) -> None:
    assert why_refused(address, loopback=True)


@pytest.mark.parametrize("address", ["192.168.1.20", "10.0.0.1", "93.184.216.34", "fd12::1", "2606:4700::1111"])
def test_machines_of_the_own_network_and_of_the_world_may_be_asked(address: str) -> None:
    assert why_refused(address, loopback=False) is None


async def test_a_name_is_looked_up_once_and_what_was_judged_is_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name service is a stand-in that names a harmless address first and the metadata service from then on."""
    async with answering(reply(b"harmless")) as (where, asked):
        port = int(where.partition(":")[2])
        answers = iter(["127.0.0.1", "169.254.169.254"])

        async def look_up(host: str, number: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers) if host == "rebinding.example" else host, number))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        assert (await request(f"http://rebinding.example:{port}", loopback=True)).body == b"harmless"
        assert len(asked) == 1
        with pytest.raises(Refused, match="link-local"):
            await addresses("rebinding.example", port, loopback=True)


async def test_of_several_addresses_of_a_name_only_those_that_may_be_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in ("fe80::1", "192.168.1.20", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await addresses("robot.local", 80) == ["192.168.1.20"]
