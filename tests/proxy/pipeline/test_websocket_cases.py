"""The groups of the Autobahn test suite, spoken byte by byte to a service on `wsproto`: whatever the two say to each
other directly, they say through the gateway. (The suite itself needs Python 2.)
"""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.support.gateway import Gateway

POLICY = """\
version: 1
upstreams: {service: {targets: ["http://127.0.0.1:%d"]}}
routes: [{name: echo, path: /, access: public, upstream: service}]
"""
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\1\2\3\4"


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """RFC 6455 5.2, right or wrong."""
    first = final << 7 | reserved << 4 | opcode
    size = len(payload)
    if size < 126:
        length = struct.pack("!B", masked << 7 | size)
    elif size < 1 << 16:
        length = struct.pack("!BH", masked << 7 | 126, size)
    else:
        length = struct.pack("!BQ", masked << 7 | 127, size)
    if masked:
        stream = KEY * (size // 4 + 1)
        payload = KEY + (int.from_bytes(payload) ^ int.from_bytes(stream[:size])).to_bytes(size)
    return bytes((first,)) + length + payload


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000)
GREETING = "Hello-µ@ßöäüàá-UTF-8!!"
GREETING_BYTES = GREETING.encode()
INVALID = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"
END = close(1000)
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000)


class Case(NamedTuple):
    name: str
    sends: tuple[bytes, ...]  # each written by itself
    deflate: bool = False


def cases() -> Iterator[Case]:
    for size in SIZES:
        yield Case(f"1-text-{size}", (frame(TEXT, b"*" * size), END))
        yield Case(f"1-binary-{size}", (frame(BINARY, b"\xfe" * size), END))
    yield Case("1-chopped", (*(bytes((byte,)) for byte in frame(TEXT, b"x" * 300)), END))
    yield Case("2-ping", (frame(PING), frame(PING, b"p" * 125), frame(PONG, b"unasked"), frame(TEXT, b"on"), END))
    yield Case("2-ping-too-long", (frame(PING, b"p" * 126),))
    yield Case("2-ten-pings", (*(frame(PING, b"%d" % number) for number in range(10)), END))
    for reserved in (1, 2, 4, 7):
        yield Case(f"3-reserved-{reserved}", (frame(TEXT, b"x", reserved=reserved), frame(PING)))
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"4-opcode-{opcode}", (frame(TEXT, b"first"), frame(opcode, b"x"), frame(PING)))
    yield Case("5-fragmented-ping", (frame(PING, b"a", final=False), frame(CONTINUATION, b"b")))
    yield Case("5-two-fragments", (frame(TEXT, b"a", final=False), frame(CONTINUATION, b"b"), END))
    yield Case("5-ping-between", (frame(TEXT, b"a", final=False), frame(PING, b"p"), frame(CONTINUATION, b"b"), END))
    yield Case("5-nothing-to-continue", (frame(CONTINUATION, b"a"), frame(TEXT, b"b")))
    yield Case("5-text-within", (frame(TEXT, b"a", final=False), frame(TEXT, b"b")))
    yield Case("5-close-within", (frame(TEXT, b"a", final=False), END))
    yield Case("6-split-character", (*(frame(TEXT if n == 0 else CONTINUATION, GREETING_BYTES[n : n + 1],
        final=n == len(GREETING_BYTES) - 1) for n in range(len(GREETING_BYTES))), END))  # fmt: skip
    yield Case("6-invalid", (frame(TEXT, INVALID),))
    yield Case("6-invalid-later", (frame(TEXT, INVALID[:12], final=False), frame(CONTINUATION, INVALID[12:])))
    yield Case("6-binary-needs-no-utf-8", (frame(BINARY, INVALID), END))
    for code in (*GOOD_CODES, *BAD_CODES):
        yield Case(f"7-code-{code}", (close(code, b"why"),))
    yield Case("7-no-code", (frame(CLOSE),))
    yield Case("7-half-a-code", (frame(CLOSE, b"\3"),))
    yield Case("7-long-reason", (close(1000, b"r" * 123),))
    yield Case("7-too-long-reason", (close(1000, b"r" * 124),))
    yield Case("7-invalid-reason", (close(1000, INVALID),))
    yield Case("7-more-after-close", (END, frame(TEXT, b"late"), frame(PING)))
    yield Case("7-unmasked", (frame(TEXT, b"x", masked=False),))
    yield Case("9-a-megabyte", (frame(BINARY, b"\1" * (1 << 20)), END))
    pieces = (frame(CONTINUATION, b"*" * 65_536, final=False) for _ in range(62))
    yield Case("9-in-pieces", (frame(TEXT, b"*" * 65_536, final=False), *pieces, frame(CONTINUATION), END))
    yield Case("12-agreed-and-unused", (frame(TEXT, GREETING_BYTES), END), deflate=True)
    yield Case("12-compressed", (frame(TEXT, deflated(b"again " * 5000), reserved=4), END), deflate=True)
    yield Case("12-damaged", (frame(TEXT, b"\xff\xff\xff", reserved=4),), deflate=True)


def deflated(data: bytes) -> bytes:
    """RFC 7692 7.2.1."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Echo:
    """A service on `wsproto`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        speaker = WSConnection(ConnectionType.SERVER)
        with closing(connection):
            try:
                while data := connection.recv(65_536):
                    speaker.receive_data(data)
                    for event in speaker.events():
                        if (answer := _answer(event)) is not None:
                            connection.sendall(speaker.send(answer))
                        if isinstance(event, CloseConnection):
                            return
            except RemoteProtocolError as error:
                if error.event_hint is not None:
                    connection.sendall(speaker.send(error.event_hint))
            except (OSError, LocalProtocolError):
                return


def _answer(event: object) -> object:
    match event:
        case Request():
            return AcceptConnection(extensions=[PerMessageDeflate()])
        case Message():
            return type(event)(
                data=event.data, frame_finished=event.frame_finished, message_finished=event.message_finished
            )
        case Ping() | CloseConnection():
            return event.response()
    return None


def transcript(port: int, case: Case) -> list[tuple[object, ...]]:
    """What the client sees. Pieces of one message count together."""
    speaker = WSConnection(ConnectionType.CLIENT)
    extensions = [PerMessageDeflate()] if case.deflate else []
    seen: list[tuple[object, ...]] = []
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(speaker.send(Request(host=f"127.0.0.1:{port}", target="/", extensions=extensions)))
        while not seen:
            speaker.receive_data(connection.recv(65_536))
            seen += [(type(event).__name__, str(getattr(event, "extensions", ""))[:40]) for event in speaker.events()]
        sender = threading.Thread(target=_send, args=(connection, case.sends))
        sender.start()
        seen += _received(connection, speaker)
        sender.join()
    return seen


def _send(connection: socket.socket, pieces: tuple[bytes, ...]) -> None:
    try:
        for piece in pieces:
            connection.sendall(piece)
    except OSError:
        pass  # the service has closed


def _received(connection: socket.socket, speaker: WSConnection) -> Iterator[tuple[object, ...]]:
    message: str | bytes = ""
    while True:
        try:
            data = connection.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            yield ("end",)
            return
        speaker.receive_data(data)
        for event in speaker.events():
            match event:
                case TextMessage() | BytesMessage():
                    message = message + event.data if message else event.data  # type: ignore[operator]
                    if event.message_finished:
                        yield (type(event).__name__, len(message), hash(message))
                        message = ""
                case Ping() | Pong():
                    yield (type(event).__name__, bytes(event.payload))
                case CloseConnection():
                    yield ("close", event.code, event.reason)


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with closing(Echo()) as service:
        yield service


@pytest.fixture(scope="module")
def site(echo: Echo, gateway_template, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("cases") / "data"
    with Gateway(data, template=gateway_template, policy=POLICY % echo.port) as gateway:
        yield gateway.start()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_the_same_is_said_through_the_gateway(site: Gateway, echo: Echo, case: Case) -> None:
    direct = transcript(echo.port, case)
    assert transcript(site.port, case) == direct
    assert direct[-1] == ("end",)


def test_the_service_is_as_strict_as_it_looks(echo: Echo) -> None:
    """Else the comparison would prove little."""
    by_name = {case.name: case for case in cases()}
    assert ("close", 1007) in [entry[:2] for entry in transcript(echo.port, by_name["6-invalid"])]
    assert "close" in [entry[0] for entry in transcript(echo.port, by_name["3-reserved-4"])]
    assert ("TextMessage", 4_128_768) in [entry[:2] for entry in transcript(echo.port, by_name["9-in-pieces"])]
