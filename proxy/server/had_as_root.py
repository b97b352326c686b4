"""What root has opened, and nobody after it could open again."""

from __future__ import annotations

import socket
from typing import NamedTuple

from proxy.server.tls import Certificates


class HadAsRoot(NamedTuple):
    listeners: tuple[socket.socket, ...]
    certificates: Certificates | None
