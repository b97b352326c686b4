"""Sockets and certificates that were opened before the server starts: by root, or by systemd."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple

from proxy.server.tls import Certificates, TlsFiles

OpenSockets = Callable[[], tuple[socket.socket, ...]]


class Opened(NamedTuple):
    listeners: tuple[socket.socket, ...]
    certificates: Certificates | None


def open_all(open_sockets: OpenSockets, tls: tuple[TlsFiles, ...]) -> Opened:
    """Raises StartRefused."""
    return Opened(open_sockets(), Certificates(tls) if tls else None)
