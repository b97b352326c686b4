"""A server process of the gateway's own kind with an application that does what the path says.

Its argument is `{"port": 1234, ...}`; tests start it through `EchoServer`, as a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import processes, raw
from tests.support.gateway import environment, free_port

OK = {"type": "http.response.start", "status": 200}
events: list[str] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    name = scope["path"].strip("/").split("/")[0]
    if name != "events":
        events.append(f"{scope['method']} {scope['raw_path'].decode()}")
    await globals().get(f"at_{name.replace('-', '_')}", at_echo)(scope, receive, send)


async def answer(send: Any, document: Any, status: int = 200, headers: Any = ()) -> None:
    body = json.dumps(document).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Any) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            events.append("disconnect")
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def at_echo(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(receive)
    if body is None:
        return
    await answer(
        send,
        {
            "method": scope["method"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "version": scope["http_version"],
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]],
            "scheme": scope["scheme"],
            "client": scope["client"],
            "body": body.decode("latin-1") if len(body) < 5000 else len(body),
            "pid": os.getpid(),
        },
    )


async def at_events(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, events)


async def at_refuse(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, {"error": "unauthorized"}, 401)


async def at_slow(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(float(scope["query_string"] or b"0.5"))
    await answer(send, {"pid": os.getpid()})


async def at_raise(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("planted")


async def at_silent(scope: Any, receive: Any, send: Any) -> None:
    return


async def at_raise_midway(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("planted")


async def at_return_midway(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def at_short(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"half"})


async def at_long(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"half"})


async def at_header(scope: Any, receive: Any, send: Any) -> None:
    name, value = bytes.fromhex(scope["query_string"].decode()).split(b"=", 1)
    await answer(send, "sent", headers=[(name, value)])


async def at_status(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"status": int(scope["query_string"]), "headers": []})
    await send({"type": "http.response.body", "body": b"body"})


async def at_chunks(scope: Any, receive: Any, send: Any) -> None:
    await send(OK | {"headers": [(b"Transfer-Encoding", b"chunked"), (b"Connection", b"keep-alive")]})
    for part in (b"a", b"", b"b" * 3000):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def at_wait(scope: Any, receive: Any, send: Any) -> None:
    """Sends a little, then waits until the client leaves."""
    await send(OK | {"headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    events.append("disconnect")


async def at_much(scope: Any, receive: Any, send: Any) -> None:
    """Sends as many bytes as it is asked for, then waits until the client leaves."""
    await send(OK | {"headers": []})
    await send({"type": "http.response.body", "body": b"x" * int(scope["query_string"]), "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    events.append("disconnect")


async def at_flood(scope: Any, receive: Any, send: Any) -> None:
    """Sends without end and tells how much it could get rid of."""
    await send(OK | {"headers": []})
    for count in range(2000):
        events[:] = [event for event in events if not event.startswith("flooded")] + [f"flooded {count}"]
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


async def at_ignore(scope: Any, receive: Any, send: Any) -> None:
    """Never asks for the body."""
    await asyncio.sleep(float(scope["query_string"]))
    events.append("woke")
    await at_echo(scope, receive, send)


class EchoServer:
    """The process; `limits` are fields of Limits."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 1,
        tls: tuple[str, str] | None = None,
        trusted_proxies: str = "",
        **limits: float,
    ) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.address = ("127.0.0.1", free_port())
        self._log = directory / "log"
        settings = json.dumps({"port": self.address[1], "workers": workers, "tls": tls, "limits": limits})
        env = environment(directory / "data", AUTHGATE_TRUSTED_PROXIES=trusted_proxies)
        with self._log.open("ab") as log, open(os.devnull) as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            self.process = processes.start(env, [settings], streams, session=True, program=__file__)
        self.wait_for(lambda: self.json(b"/events") is not None if tls is None else self._listens(), timeout=30)

    def __enter__(self) -> EchoServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def connect(self, **options: Any) -> raw.RawClient:
        return raw.RawClient(self.address, **options)

    def send(self, data: bytes, **options: Any) -> raw.Response:
        return raw.exchange(self.address, data, **options)

    def json(self, target: bytes) -> Any:
        try:
            return self.send(raw.request(target=target)).json()
        except ConnectionRefusedError:
            assert self.process.poll() is None, self.log
            return None

    def _listens(self) -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            self.connect().close()
            return True
        return False

    @property
    def events(self) -> list[str]:
        return self.json(b"/events")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def wait_for(self, condition: Any, timeout: float = 5) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout} s in vain:\n{self.log}"
            time.sleep(0.02)

    def stop(self) -> int | None:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def main() -> None:
    import django

    django.setup()
    from proxy.server.http1.limits import Limits
    from proxy.server.listen import Address
    from proxy.server.processes import ServeOptions, serve
    from proxy.server.tls import tls_files

    settings = json.loads(sys.argv[1])
    limits = Limits(**settings["limits"])
    tls = tls_files(*([path] for path in settings["tls"])) if settings["tls"] else ()
    serve(ServeOptions(application, Address("127.0.0.1", settings["port"]), settings["workers"], tls, limits=limits))


if __name__ == "__main__":
    main()
