"""What systemd gives a service: sockets that are already open, and an ear for how the service is.

sd_listen_fds(3) and sd_notify(3), in so few lines that they need no library.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from proxy.server.listen import StartRefused

logger = logging.getLogger(__name__)

_FIRST_DESCRIPTOR = 3
_NAMES = ("http", "https", "redirect")


@dataclass(frozen=True, slots=True)
class Notifier:
    """`address` is empty where nobody listens. `watchdog_seconds`: after this silence we are killed; None: never."""

    address: str = ""
    watchdog_seconds: float | None = None

    def tell(self, **state: str | int) -> None:
        if not self.address:
            return
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        # "@": a name in the kernel instead of a file.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
                ear.setblocking(False)
                ear.sendto(message.encode(), address)
        except OSError as error:
            logger.debug("cannot notify %s: %s", self.address, error)

    def tell_reloading(self) -> None:
        self.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, STATUS="reloading")


@dataclass(frozen=True, slots=True)
class Handed:
    """The sockets of the service's socket units, by their FileDescriptorName."""

    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    notifier: Notifier = field(default_factory=Notifier)

    def main(self, *, tls: bool) -> socket.socket | None:
        """Raises StartRefused where what systemd calls the socket is not what it would speak."""
        wrong, right = ("http", "https") if tls else ("https", "http")
        if wrong in self.sockets:
            has = "--tls-cert is given" if tls else "there is no --tls-cert"
            raise StartRefused(f"systemd hands over a socket named {wrong!r}, but {has}")
        return self.sockets.get(right)

    @property
    def redirect(self) -> socket.socket | None:
        return self.sockets.get("redirect")


def take(environ: MutableMapping[str, str]) -> Handed:
    """No child sees the variables: what it said would be taken for ours. Raises StartRefused."""
    given = {
        name: environ.pop(name, "")
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
    }
    return Handed(_sockets(given), Notifier(given["NOTIFY_SOCKET"], _watchdog_seconds(given)))


def _watchdog_seconds(given: Mapping[str, str]) -> float | None:
    is_ours = given["WATCHDOG_PID"] in ("", str(os.getpid()))
    return int(given["WATCHDOG_USEC"]) / 1e6 if given["WATCHDOG_USEC"].isdecimal() and is_ours else None


def _sockets(given: Mapping[str, str]) -> dict[str, socket.socket]:
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return {}
    sockets: dict[str, socket.socket] = {}
    names = given["LISTEN_FDNAMES"].split(":")
    for number in range(int(given["LISTEN_FDS"])):
        name = names[number] if number < len(names) else ""
        if name not in _NAMES:
            raise StartRefused(
                f"systemd hands over a socket named {name!r}: FileDescriptorName= must be http, https or redirect"
            )
        if name in sockets:
            raise StartRefused(f"systemd hands over two sockets named {name!r}: one ListenStream= for each name")
        sockets[name] = _listener(name, _FIRST_DESCRIPTOR + number)
    return sockets


def _listener(name: str, descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    listener = socket.socket(fileno=descriptor)
    accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or not accepts:
        raise StartRefused(f"systemd hands over a socket named {name!r} that is not a listening TCP socket")
    return listener
