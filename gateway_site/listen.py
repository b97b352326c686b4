"""Addresses and sockets to listen on. Problems are one line for the operator."""

from __future__ import annotations

import re
import resource
import socket
from typing import NamedTuple

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
BACKLOG = 2048


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


def open_listeners(bind: Address, redirect: Address | None) -> tuple[socket.socket, ...]:
    """The redirecting one last."""
    main = open_socket("--bind", bind)
    return (main,) if redirect is None else (main, open_socket("--redirect-http", redirect))


def raise_file_limit() -> None:
    """Every client and every upstream connection is an open file; the soft limit is often only 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
