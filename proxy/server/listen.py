"""Addresses and sockets to listen on. Problems are one line for the operator."""

from __future__ import annotations

import logging
import re
import resource
import socket
from dataclasses import replace
from typing import NamedTuple

from proxy.server.http1.limits import Limits

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
BACKLOG = 2048
OTHER_FILES = 256  # of a worker: databases, providers, files


class StartRefused(Exception):
    """Why the server cannot start, in one line."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(option: str, text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise StartRefused(f"{option}: {text!r} is not HOST:PORT, as in 127.0.0.1:8000 or [::1]:8000")
    return Address(match["v6"] or match["host"], int(match["port"]))


def open_socket(option: str, address: Address) -> socket.socket:
    """Listening, so that a port in use is found now and not by a worker later."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(BACKLOG)
    except OSError as error:
        raise StartRefused(f"{option}: cannot listen on {address}: {error.strerror}") from error
    return listener


def open_listeners(
    bind: Address, redirect: Address | None, main: socket.socket | None = None, redirecting: socket.socket | None = None
) -> tuple[socket.socket, ...]:
    """The redirecting one last. `main` and `redirecting` are open already, and have the addresses."""
    main = main or open_socket("--bind", bind)
    return (main,) if redirect is None else (main, redirecting or open_socket("--redirect-http", redirect))


def address_of(listener: socket.socket) -> Address:
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def fit_to_files(limits: Limits) -> Limits:
    """Raise the soft limit on open files, often 1,024, to the hard one; if that is too low, fewer connections.

    A server that cannot open a file for the next connection asks for it again and again, with all of a processor.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Each request may have a connection to an upstream.
    room = limits.connections if hard == resource.RLIM_INFINITY else max(1, (hard - OTHER_FILES) // 2)
    if room >= limits.connections:
        return limits
    # A limit that leaves nearly all of them needs no attention.
    logger.log(
        logging.WARNING if room < limits.connections // 2 else logging.INFO,
        "%d open files are allowed (ulimit -Hn), so a worker takes %d connections instead of %d: allow %d for all",
        hard, room, limits.connections, 2 * limits.connections + OTHER_FILES,
    )  # fmt: skip
    return replace(limits, connections=room, requests=min(limits.requests, room))
