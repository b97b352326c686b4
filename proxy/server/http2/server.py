"""`serve --http2`: the same application on Granian, whose HTTP/2 and TLS are hyper and rustls."""

from __future__ import annotations

import asyncio
import functools
import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import connections
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.net import SocketHolder
from uvicorn.config import Config

from authgate.reason import Reason
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.cookies import cookie_line
from authgate.wire.framing import is_chunked
from authgate.wire.refusal import Answer
from proxy.server import health
from proxy.server.http1.cookies import cookie_names, refuse_cookies
from proxy.server.http1.cycle import Application
from proxy.server.http1.limits import Limits
from proxy.server.http1.protocol import Http1Protocol
from proxy.server.http1.refusal import RequestRefused, build_refusal
from proxy.server.http1.taking import NotTaken
from proxy.server.http2.body import RequestBody
from proxy.server.http2.bounds import PIECE_BYTES, Admission, BoundedSend
from proxy.server.listen import BACKLOG, StartRefused, fit_to_files, open_listeners
from proxy.server.processes import GatewayServer, ServeOptions
from proxy.server.supervision import Heartbeat, Supervision
from proxy.server.tls import Certificates

logger = logging.getLogger(__name__)

_STREAMS = 100
_CONNECTION_BYTES = 256 * 1024
_STREAM_BYTES = 128 * 1024
_PING_MILLISECONDS = 30_000
_RESPAWN_SECONDS = 1.0
_BEAT_SECONDS = 0.25
_LOOK_SECONDS = 0.1
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"propagate": True, "handlers": []}},
}


class Http2Server(Granian):  # type: ignore[misc]  # untyped
    """Granian exits when a worker dies soon after a respawn, including one by HUP. This one keeps replacing it."""

    def __init__(self, options: ServeOptions, **settings: Any) -> None:
        super().__init__("gateway_site.asgi:application", options.bind.host, options.bind.port, **settings)
        self._tls = options.tls
        self._opened = options.opened
        self._supervision = Supervision(options.notifier)
        self._heartbeats: dict[int, Heartbeat] = {}
        self.main_loop_interrupt = _Attentive(self._look)

    def _init_shared_socket(self) -> None:
        """Granian's workers would each bind the port, which they may not when root was given up."""
        if self._opened is None:
            super()._init_shared_socket()
            return
        listener = self._opened.listeners[0]
        listener.set_inheritable(True)
        self._ssp, self._sso, self._sfd = None, None, listener.fileno()
        self._shd = SocketHolder(listener.fileno(), False, BACKLOG)

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:
        self._heartbeats[idx] = heartbeat = Heartbeat()
        worker = super()._spawn_worker(idx, target, functools.partial(callback_loader, heartbeat))
        worker.join = functools.partial(self._join, worker)
        return worker

    def _join(self, worker: Any, timeout: float | None = None) -> None:
        """A worker may take as long to end as its requests do, and the watchdog does not wait for that."""
        end = time.monotonic() + (timeout or float("inf"))
        while worker.is_alive() and time.monotonic() < end:
            worker.inner.join(_LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        self._supervision.look(self._heartbeats.values(), self.workers)

    def _respawn_workers(self, workers: Any, spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        for worker in workers:
            if self.interrupt_signal:
                return  # TERM while reloading: no further worker gets its turn
            # The new one takes over before the old one ends; and one that always dies is not tried without a pause.
            super()._respawn_workers([worker], spawn_target, target_loader, delay or _RESPAWN_SECONDS)
        self.respawned_wrks.clear()  # what Granian tells a loop of crashes by

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        """Bad TLS files must not cost the gateway that is running."""
        self._supervision.reloading()
        try:
            if self._tls:
                Certificates(self._tls)
        except StartRefused as problem:
            logger.error("keeping the certificate in use: %s", problem)
            self.reload_signal = False
            self.main_loop_interrupt.clear()
        else:
            super()._reload(spawn_target, target_loader)
        finally:
            self._supervision.reloaded()
            if self.interrupt_signal or self.interrupt_children:
                self.main_loop_interrupt.set()  # it came meanwhile, and what woke us up was cleared

    def shutdown(self, exit_code: int = 0) -> None:
        self._supervision.stopping()
        super().shutdown(exit_code)


class _Attentive(threading.Event):
    """What Granian's main loop waits for; meanwhile it looks after the workers."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def wait(self, timeout: float | None = None) -> bool:
        # Not the wait of Event: a signal whose handler sets it would wait forever for the lock that this wait has.
        while not self.is_set():
            time.sleep(_LOOK_SECONDS)
            self._look()
        return True


def serve(options: ServeOptions) -> None:
    """Returns when the server was told to stop. Raises StartRefused before anything is started."""
    if len(options.tls) > 1:
        raise StartRefused(
            "--tls-cert: with --http2 there can be one alone, as Granian does not choose by the host's name: one that "
            "names all hosts, or no --http2"
        )
    options = replace(options, limits=fit_to_files(options.limits))
    if options.opened is None:
        listeners = open_listeners(options.bind, options.redirect_bind)
        # Granian binds the port itself, and would share a busy one with whoever has it.
        listeners[0].close()
    else:
        listeners = options.opened.listeners
        _check_key(options)
    connections.close_all()
    server = build_server(options)
    for redirect in listeners[1:]:
        _attach_redirect(server, options, redirect)
    scheme = "https" if options.tls else "http"
    logger.info("serving on %s://%s, workers: %d", scheme, options.bind, options.workers)
    options.when_listening()
    server.serve(target_loader=functools.partial(alive, options.application, options.limits), wrap_loader=False)


def _check_key(options: ServeOptions) -> None:
    try:
        if options.tls:
            Certificates(options.tls)
    except StartRefused as problem:
        raise StartRefused(f"{problem}; with --http2 each worker reads it, and root was given up") from problem


def build_server(options: ServeOptions) -> Any:
    limits, tls = options.limits, options.tls[0] if options.tls else None
    return Http2Server(
        options,
        interface=Interfaces.ASGI,
        workers=options.workers,
        loop=Loops.uvloop,
        http=HTTPModes.auto,
        websockets=False,
        backlog=BACKLOG,
        backpressure=limits.connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(limits.head_seconds * 1000),
            max_buffer_size=limits.headers_bytes + limits.target_bytes,
        ),
        http2_settings=HTTP2Settings(
            max_headers_size=limits.headers_bytes,
            max_concurrent_streams=_STREAMS,
            keep_alive_interval=_PING_MILLISECONDS,
            # What a connection, and each stream of it, may send before anybody asks for it, and what waits to be taken.
            initial_connection_window_size=_CONNECTION_BYTES,
            initial_stream_window_size=_STREAM_BYTES,
            max_send_buffer_size=2 * PIECE_BYTES,
        ),
        log_level=LogLevels.warning,
        log_dictconfig=_LOGGING,
        ssl_cert=tls.cert if tls else None,
        ssl_key=tls.key if tls else None,
        ssl_protocol_min=SSLProtocols.tls12,
        respawn_failed_workers=True,
        workers_kill_timeout=round(limits.drain_seconds),
    )


_NO_HOST = (b"host", b"")  # what Granian puts in its place; and "1" is how it writes HTTP/1.0


def alive(application: Application, limits: Limits, heartbeat: Heartbeat) -> Application:
    """Guarded, and with a heart that beats while the worker serves."""
    guarded = guard(application, limits)

    async def beating(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await guarded(scope, receive, send)
            return
        hearts: list[asyncio.Task[None]] = []

        async def started(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                hearts.append(asyncio.create_task(_beat(heartbeat)))
            await send(message)

        try:
            await guarded(scope, receive, started)
        finally:
            for heart in hearts:
                heart.cancel()

    return beating


async def _beat(heartbeat: Heartbeat) -> None:
    while True:
        heartbeat.beat()
        await asyncio.sleep(_BEAT_SECONDS)


def guard(application: Application, limits: Limits) -> Application:
    """What `http1` refuses and hyper lets through."""
    admission = Admission(limits.requests)

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        scope["headers"] = headers = join_cookies(scope["headers"])
        if scope["http_version"] == "1" and _NO_HOST in headers:
            headers.remove(_NO_HOST)
            health.add_host(headers, scope["raw_path"])
        host, port = scope["client"]
        scope["client"] = (host, int(port))
        try:
            with admission.of(host):
                body = RequestBody(scope, receive, limits)
                has_ended = await _answer(application, scope, body, send, limits)
                # While many are at work a place is worth more than an answer to who has more to send.
                if has_ended and admission.has_room:
                    await body.discard()
        except RequestRefused as refused:
            await _refuse(build_refusal(refused.reason), send)

    return guarded


async def _answer(
    application: Application, scope: dict[str, Any], body: RequestBody, send: Any, limits: Limits
) -> bool:
    """Whether the answer went out whole. What an application leaves unanswered when it fails Granian would answer,
    without any of our headers.
    """
    has_begun = has_ended = False
    bounded = BoundedSend(send, limits)

    async def named(message: dict[str, Any]) -> None:
        nonlocal has_begun, has_ended
        has_begun = True
        await bounded(_named(message))
        has_ended = message["type"] == "http.response.body" and not message.get("more_body", False)

    try:
        check_request(scope, limits)
        await application(scope, body.receive, named)
    except RequestRefused as refused:
        await _refuse(_refusal_of(refused.reason, scope), named)
    except NotTaken:
        await bounded.linger()  # without its end the answer is visibly cut
    except Exception:
        if has_begun:
            raise
        logger.exception("the application failed")
        await _refuse(build_refusal(Reason.SERVER_ERROR), named)
    return has_ended


def join_cookies(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The cookies in one header, as HTTP/1.1 has them (RFC 9113 8.2.3)."""
    others = [pair for pair in headers if pair[0] != b"cookie"]
    if len(headers) - len(others) < 2:
        return headers
    return [*others, (b"cookie", cookie_line(headers))]


def check_request(scope: dict[str, Any], limits: Limits) -> None:
    """Raises RequestRefused."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > limits.header_count:
        raise RequestRefused(Reason.TOO_MANY_HEADERS)
    for name, value in headers:
        if len(name) + len(value) > limits.header_line_bytes:
            raise RequestRefused(Reason.COOKIES_TOO_LARGE if name == b"cookie" else Reason.HEADER_TOO_LONG)
    if len(scope["raw_path"]) + len(scope["query_string"]) > limits.target_bytes:
        raise RequestRefused(Reason.TARGET_TOO_LONG)
    if scope["method"] in ("CONNECT", "TRACE"):
        raise RequestRefused(Reason.BAD_METHOD)
    if not scope["raw_path"].startswith(b"/"):
        raise RequestRefused(Reason.BAD_TARGET)
    if scope["http_version"] == "2" and headers[:1] and headers[0][0] != b"host":
        # Granian puts :authority there, unless the client has sent a Host as well: which may be another one.
        raise RequestRefused(Reason.BAD_HOST)
    _check_named(headers)


def _check_named(headers: list[tuple[bytes, bytes]]) -> None:
    hosts = [value for name, value in headers if name == b"host"]
    try:
        parse_authority(hosts[0] if len(hosts) == 1 else b"")
    except HostRefused as error:
        raise RequestRefused(Reason.BAD_HOST) from error
    for name, value in headers:
        if name == b"transfer-encoding" and not is_chunked(value):
            raise RequestRefused(Reason.BAD_FRAMING)
        if name == b"expect" and value.lower() != b"100-continue":
            raise RequestRefused(Reason.UNKNOWN_EXPECTATION)


def _refusal_of(reason: Reason, scope: dict[str, Any]) -> Answer:
    if reason is not Reason.COOKIES_TOO_LARGE:
        return build_refusal(reason)
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    return refuse_cookies(scope["method"], scope["raw_path"] + query, scope["headers"], cookie_names(scope["headers"]))


async def _refuse(refusal: Answer, send: Any) -> None:
    await send(_named({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers}))
    await send({"type": "http.response.body", "body": refusal.body})


def _named(message: dict[str, Any]) -> dict[str, Any]:
    """Granian names itself and its framework unless the application names a server."""
    if message["type"] == "http.response.start" and not any(
        name.lower() == b"server" for name, _ in message["headers"]
    ):
        message["headers"] = [*message["headers"], (b"server", b"authgate")]
    return message


def _attach_redirect(server: Any, options: ServeOptions, listener: socket.socket) -> None:
    process = multiprocessing.Process(target=_run_redirect, args=(options, listener, os.getpid()), daemon=True)
    server.on_startup(process.start)
    server.on_shutdown(process.terminate)


def _run_redirect(options: ServeOptions, listener: socket.socket, parent: int) -> None:
    config = Config(
        app=options.redirect,  # type: ignore[arg-type]  # an ASGI application
        interface="asgi3",
        loop="uvloop",
        http=Http1Protocol,  # type: ignore[arg-type]  # named only: GatewayServer makes them
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    # The shortcut would answer for the gateway here, over plain http.
    GatewayServer(config, replace(options, shortcut=None), parent).run(sockets=[listener])
