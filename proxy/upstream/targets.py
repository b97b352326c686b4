"""What is connected to, and why it cannot be."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class UpstreamUnreachable(OSError):
    """No connection to any target of the upstream."""


class UpstreamBusy(UpstreamUnreachable):
    """All connections that there may be are taken, and so is the queue, or it took too long."""


class Target(NamedTuple):
    scheme: str  # http, https or unix
    host: str
    port: int
    path: str  # of a unix socket
    host_header: str

    def __str__(self) -> str:
        """As the policy has it."""
        return f"unix:{self.path}" if self.scheme == "unix" else f"{self.scheme}://{self.host_header}"


def parse_target(text: str) -> Target:
    """A target as the policy's validator has let it through."""
    if text.startswith("unix:"):
        return Target("unix", "", 0, text.removeprefix("unix:"), "localhost")
    parts = urlsplit(text)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(parts.scheme, parts.hostname or "", port, "", parts.netloc)
