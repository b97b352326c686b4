"""What strangers do to stop a gateway. Each is bounded, on loopback, and goes on until it is cancelled."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode

_PIECE = 64 * 1024


@dataclass
class Target:
    port: int
    token: str
    logout_path: str
    worthless_tokens: list[str]
    stop_reading: Callable[[], None]
    read_again: Callable[[], None]
    got: Counter[str] = field(default_factory=Counter)  # what the strangers were answered

    def head(self, method: str, path: str, *lines: str) -> bytes:
        whole = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *lines, "", "")
        return "\r\n".join(whole).encode()


Attack = Callable[[Target], Awaitable[None]]


async def unfinished_bodies(target: Target) -> None:
    """100 strangers send 2.5 MiB to pages of the gateway itself, and then a byte every second"""

    async def send(number: int) -> None:
        path = ("/admin/login/", "/auth/me", "/auth/login")[number % 3]
        async with _connected(target, f"127.3.0.{number + 1}") as stranger:
            form = "Content-Type: application/x-www-form-urlencoded"
            await _send(stranger, target.head("POST", path, form, "Content-Length: 2600000"))
            for _ in range(2_500_000 // _PIECE):
                await _send(stranger, b"a" * _PIECE)
            while True:
                await _send(stranger, b"a")
                await asyncio.sleep(1)

    await _again(target, send, 100)


async def slow_admin_readers(target: Target) -> None:
    """24 connections ask for a hundred large sign-in pages of the admin each, and take 4 KiB every 3 s"""
    # Each apostrophe comes back as six characters.
    asked = target.head("GET", "/admin/login/?next=/" + "'" * 1900) * 100

    async def read(number: int) -> None:
        async with _connected(target, f"127.3.1.{number + 1}", window=4096) as stranger:
            sending = asyncio.create_task(_send(stranger, asked))
            try:
                await _take_slowly(stranger, 4096)
            finally:
                sending.cancel()

    await _again(target, read, 24)


async def worthless_logout_tokens(target: Target) -> None:
    """One address sends 200 well-formed and wrongly signed logout tokens a second"""
    tokens = itertools.cycle(target.worthless_tokens)
    form = "Content-Type: application/x-www-form-urlencoded"

    async def send(number: int) -> None:
        body = urlencode({"logout_token": next(tokens)}).encode()
        length = f"Content-Length: {len(body)}"
        async with _connected(target, "127.3.2.1") as stranger:
            await _send(stranger, target.head("POST", target.logout_path, form, length, "Connection: close") + body)
            await _count(target, stranger)
        await asyncio.sleep(0.2)

    await _again(target, send, 40)


async def hammered_sign_in(target: Target) -> None:
    """200 connections of one client ask for the sign-in page without a pause"""
    asked = target.head("GET", "/auth/login", "Accept: text/html")

    async def ask(number: int) -> None:
        async with _connected(target, "127.3.3.1") as stranger:
            while True:
                await _send(stranger, asked)
                await _count(target, stranger)

    await _again(target, ask, 200)


async def password_guesses(target: Target) -> None:
    """Ten strangers guess the admin's passwords, each time from another client"""
    cookie, field_value = await _csrf(target)
    clients = (f"127.4.{high}.{low}" for high in range(256) for low in range(1, 255))

    async def guess(number: int) -> None:
        form = {"csrfmiddlewaretoken": field_value, "username": "root", "password": "a guess"}
        body = urlencode(form).encode()
        lines = [
            "Content-Type: application/x-www-form-urlencoded", f"Cookie: {cookie}", f"Content-Length: {len(body)}",
            f"Origin: http://127.0.0.1:{target.port}", "Connection: close",
        ]  # fmt: skip
        async with _connected(target, next(clients)) as stranger:
            await _send(stranger, target.head("POST", "/admin/login/", *lines) + body)
            await _count(target, stranger)
        await asyncio.sleep(0.5)

    await _again(target, guess, 10)


async def slow_readers(target: Target) -> None:
    """100 clients ask for 1 GiB and take 1 KiB every 3 s"""

    async def read(number: int) -> None:
        async with _connected(target, f"127.3.4.{number + 1}", window=4096) as stranger:
            await _send(stranger, target.head("GET", "/download", f"Authorization: Bearer {target.token}"))
            await _take_slowly(stranger, 1024)

    await _again(target, read, 100)


async def kept_connections(target: Target) -> None:
    """One address keeps as many connections as it can get, 9,000 at most, and uses none"""

    async def keep(number: int) -> None:
        async with _connected(target, "127.3.5.1") as stranger:
            await _send(stranger, target.head("GET", "/health"))
            while await _receive(stranger, 4096):
                pass
        await asyncio.sleep(0.5)

    await _again(target, keep, 9000)


async def a_stopped_log_reader(target: Target) -> None:
    """Whoever reads standard output stops, and a client asks for long paths without a pause"""
    asked = target.head("GET", f"/nowhere/{'a' * 7000}")

    async def ask(number: int) -> None:
        async with _connected(target, "127.3.6.1") as stranger:
            while True:
                await _send(stranger, asked)
                await _count(target, stranger)

    target.stop_reading()
    try:
        await _again(target, ask, 8)
    finally:
        target.read_again()


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        unfinished_bodies, slow_admin_readers, worthless_logout_tokens, hammered_sign_in, password_guesses,
        slow_readers, a_stopped_log_reader,
        kept_connections,  # the last one: a gateway without files takes a while to come back
    )
}  # fmt: skip


@asynccontextmanager
async def _connected(target: Target, source: str, *, window: int = 0) -> AsyncIterator[socket.socket]:
    async with AsyncExitStack() as stack:
        stranger = stack.enter_context(socket.socket())
        stranger.setblocking(False)
        # So that one address has as many ports as it likes (Linux).
        stranger.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        if window:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            # With the segments of loopback, 64 KiB each, the kernel would hold 2 MiB for the gateway.
            stranger.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        stranger.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(stranger, ("127.0.0.1", target.port))
        yield stranger


async def _again(target: Target, one: Callable[[int], Awaitable[None]], count: int) -> None:
    """So many at a time, each from the beginning when its connection has ended."""

    async def go_on(place: int) -> None:
        while True:
            try:
                await one(place)
            except OSError as error:
                target.got[type(error).__name__] += 1
                await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        for place in range(count):
            group.create_task(go_on(place))


async def _send(stranger: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(stranger, data)


async def _receive(stranger: socket.socket, most: int) -> bytes:
    return await asyncio.get_running_loop().sock_recv(stranger, most)


async def _take_slowly(stranger: socket.socket, most: int) -> None:
    data = b"begun"
    while data:
        await asyncio.sleep(3)
        data = await _receive(stranger, most)


async def _count(target: Target, stranger: socket.socket) -> None:
    """The next answer, whose body has a length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (data := await _receive(stranger, _PIECE)):
            raise ConnectionResetError
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.I)
    while length and len(body) < int(length[1]) and (data := await _receive(stranger, _PIECE)):
        body += data
    target.got[head[9:12].decode()] += 1


async def _csrf(target: Target) -> tuple[str, str]:
    """The cookie and the field of a sign-in form: any number of clients may share them."""
    async with _connected(target, "127.3.7.1") as stranger:
        await _send(stranger, target.head("GET", "/admin/login/", "Accept: text/html", "Connection: close"))
        page = b""
        with suppress(OSError):
            while data := await _receive(stranger, _PIECE):
                page += data
    cookie = re.search(rb"set-cookie: ([^;]*csrf[^;]*);", page, re.I)
    value = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if cookie is None or value is None:
        raise RuntimeError("the sign-in page of the admin has no form")
    return cookie[1].decode(), value[1].decode()
