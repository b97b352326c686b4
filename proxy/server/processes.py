"""The production server: gunicorn keeps the workers, uvicorn runs each, `http1` speaks to the clients."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connections
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from proxy.server.arbiter import GatewayArbiter
from proxy.server.http1.cycle import Application
from proxy.server.http1.limits import Limits
from proxy.server.http1.protocol import Http1Protocol, Shortcut
from proxy.server.http1.state import GatewayState
from proxy.server.listen import BACKLOG, Address, StartRefused, fit_to_files, open_listeners
from proxy.server.opened import Opened
from proxy.server.peers import client_of
from proxy.server.supervision import Heartbeat, Supervision
from proxy.server.systemd import Notifier
from proxy.server.tls import Certificates, TlsFiles

logger = logging.getLogger(__name__)

_EXPIRE_TICKS = 5  # of a tenth of a second
_CERTIFICATE_TICKS = 20
# After the bound for draining: the worker cancels what is left, and says goodbye to the application.
_GOODBYE_SECONDS = 5
_SILENT_WORKER_SECONDS = 30
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    application: Application
    bind: Address
    workers: int = 1
    tls: tuple[TlsFiles, ...] = ()
    redirect_bind: Address | None = None
    redirect: Application | None = None
    limits: Limits = field(default_factory=Limits)
    shortcut: Shortcut | None = None
    opened: Opened | None = None
    notifier: Notifier = field(default_factory=Notifier)
    when_listening: Callable[[], None] = lambda: None


def serve(options: ServeOptions) -> None:
    """Returns never: the process ends when the server does. Raises StartRefused before anything is started."""
    options = replace(options, limits=fit_to_files(options.limits))
    # A connection to the database cannot be shared with the workers that are forked from here.
    connections.close_all()
    GatewayApplication(options).run()


class GatewayServer(Server):
    """One worker's event loop."""

    def __init__(
        self,
        config: Config,
        options: ServeOptions,
        parent: int,
        certificates: Certificates | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        super().__init__(config)
        self.server_state: GatewayState = GatewayState(client_of)
        self._options = options
        self._parent = parent
        self._certificates = certificates
        self._heartbeat = heartbeat

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn opens none: it has no setting for how long a TLS handshake may take.
        await super().startup(sockets=[])
        main, *redirects = sockets or []
        await self._listen(main, self._protocol, self.config.ssl)
        for listener in redirects:
            await self._listen(listener, self._redirect_protocol)

    async def on_tick(self, counter: int) -> bool:
        if os.getppid() != self._parent:
            self.should_exit = True  # the master died; nobody would ever stop or replace this worker
        if self._heartbeat is not None:
            self._heartbeat.beat()
        exiting = await super().on_tick(counter)
        if counter % 10 == 0:
            self.server_state.date_line = b"date: %b\r\n" % self.server_state.default_headers[0][1]
        if counter % _EXPIRE_TICKS == 0:
            self._expire_connections()
        if counter % _CERTIFICATE_TICKS == 0 and self._certificates is not None:
            self._certificates.read_if_changed()
        return exiting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.draining = True
        drain = asyncio.create_task(self._watch_drain())
        try:
            await super().shutdown(sockets)
        finally:
            drain.cancel()

    async def _wait_tasks_to_complete(self) -> None:
        try:
            if self.config.ssl is not None:
                # A client in the middle of its TLS handshake is not among the connections yet.
                await asyncio.sleep(self._options.limits.drain_idle_seconds)
            await super()._wait_tasks_to_complete()
        finally:
            # uvicorn cancels the tasks that are left; a request on the shortcut has none.
            for connection in tuple(self.server_state.connections):
                connection.give_up()

    async def _watch_drain(self) -> None:
        """Time-outs hold while draining too, and the master must not take a draining worker for a dead one."""
        while True:
            self._expire_connections()
            if self.config.callback_notify is not None:
                await self.config.callback_notify()
            await asyncio.sleep(0.25)

    def _expire_connections(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in tuple(self.server_state.connections):
            connection.expire(now)

    async def _listen(
        self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None = None
    ) -> None:
        seconds = self._options.limits.head_seconds if tls is not None else None
        server = await asyncio.get_running_loop().create_server(
            protocol,
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=seconds,
            # It would cut a client that takes its last answer slowly; the connection knows whether it does.
            ssl_shutdown_timeout=_DAY if tls is not None else None,
        )
        self.servers.append(server)

    def _protocol(self) -> Http1Protocol:
        limits, shortcut = self._options.limits, self._options.shortcut
        return Http1Protocol(self.config, self.server_state, self.lifespan.state, limits, shortcut=shortcut)

    def _redirect_protocol(self) -> Http1Protocol:
        return Http1Protocol(
            self.config, self.server_state, {}, self._options.limits, self._options.redirect
        )  # fmt: skip


class GatewayWorker(UvicornWorker):  # type: ignore[misc]  # untyped
    app: GatewayApplication

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heartbeat = Heartbeat()  # before the fork
        _calm_logging()
        limits = self.app.options.limits
        certificates = self.app.certificates
        self.config = Config(
            app=self.app.options.application,
            interface="asgi3",
            loop="uvloop",
            http=Http1Protocol,  # type: ignore[arg-type]  # named only: GatewayServer makes them
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # Whom to believe about forwarded headers is decided in authgate.gate.facts alone.
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_notify=int(self.timeout),
            callback_notify=self.callback_notify,
            timeout_graceful_shutdown=round(limits.drain_seconds),
            ssl_context_factory=(lambda config, default: certificates.context) if certificates is not None else None,
        )

    async def _serve(self) -> None:
        server = GatewayServer(self.config, self.app.options, self.ppid, self.app.certificates, self.heartbeat)

        def quit_now() -> None:
            server.should_exit = server.force_exit = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, quit_now)
        await server.serve(sockets=self.sockets)

    def run(self) -> None:
        try:
            super().run()
        except SystemExit as stop:
            if stop.code != STARTUP_FAILURE or self.age <= self.cfg.workers:
                raise
            # gunicorn ends altogether when a worker cannot start. That is right for the first ones; later the other
            # workers still serve (the database may be away for a moment), and a new one is tried again.
            time.sleep(1)
            sys.exit(1)


class GatewayApplication(BaseApplication):  # type: ignore[misc]  # untyped
    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.certificates = self._first_certificates()
        self._binds = self._open_sockets()
        super().__init__()

    def load_config(self) -> None:
        limits = self.options.limits
        settings = {
            "bind": self._binds,
            "workers": self.options.workers,
            "worker_class": GatewayWorker,
            "logger_class": CalmLogger,
            "preload_app": True,
            "backlog": BACKLOG,
            "timeout": _SILENT_WORKER_SECONDS,
            "graceful_timeout": round(limits.drain_seconds) + _GOODBYE_SECONDS,
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108  gunicorn makes a private file
            "proc_name": "authgate",
            "when_ready": self._announce,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return self.options.application

    def reload(self) -> None:
        """On HUP. Bad TLS files must not cost the gateway that is running."""
        try:
            if self.certificates is not None:
                self.certificates.read()
        except StartRefused as problem:
            logger.error("keeping the certificate in use: %s", problem)
        super().reload()

    def run(self) -> None:
        GatewayArbiter(self, Supervision(self.options.notifier)).run()

    def _open_sockets(self) -> list[str]:
        """As descriptors, the redirecting one last: gunicorn itself would try a busy port for five seconds."""
        if "GUNICORN_FD" in os.environ:  # started by USR2 of a running master, which hands its sockets over
            return ["127.0.0.1:0"]
        opened, options = self.options.opened, self.options
        listeners = opened.listeners if opened else open_listeners(options.bind, options.redirect_bind)
        return [f"fd://{listener.detach()}" for listener in listeners]

    def _first_certificates(self) -> Certificates | None:
        if self.options.opened is not None:
            return self.options.opened.certificates
        return Certificates(self.options.tls) if self.options.tls else None

    def _announce(self, arbiter: GatewayArbiter) -> None:
        listener = arbiter.LISTENERS[0]
        host, port = listener.getsockname()[:2]
        scheme = "https" if self.options.tls else "http"
        logger.info("serving on %s://%s, workers: %d", scheme, Address(host, port), self.options.workers)
        self.options.when_listening()


class CalmLogger(Logger):  # type: ignore[misc]  # untyped
    """gunicorn's log goes where ours goes, in our format; what is not a problem is for --debug."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)
        _calm_logging()


def _calm_logging() -> None:
    for name in ("gunicorn.error", "uvicorn.error"):
        chatter = logging.getLogger(name)
        chatter.handlers = []
        chatter.propagate = True
        chatter.setLevel(logging.DEBUG if logging.root.level <= logging.DEBUG else logging.WARNING)
