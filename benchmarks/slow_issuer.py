"""An introspection endpoint that knows every token: `-m benchmarks.slow_issuer PORT SECONDS`."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from typing import cast

import uvloop

AUDIENCE = "https://api.bench.test"

_subjects = itertools.count()


class Endpoint(asyncio.Protocol):
    """A connection. One process answers thousands a second, so that the gateway keeps the processors."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, complete, body = self._received.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if complete and len(body) >= (int(found[1]) if found else 0):
            self._received = b""
            asyncio.get_running_loop().call_later(self._seconds, self._transport.write, answer())


def answer() -> bytes:
    now = int(time.time())
    claims = {"active": True, "aud": AUDIENCE, "sub": f"machine-{next(_subjects)}", "iat": now, "exp": now + 3600}
    body = json.dumps(claims).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def serve(port: int, seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Endpoint(seconds), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
