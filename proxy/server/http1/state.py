"""What the connections of one worker share, and which of them gives way when it is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from uvicorn.server import ServerState

from proxy.server.http1.crowd import Crowd, Member

# Who a peer counts as; None for one that stands for many: a trusted proxy.
ClientOf = Callable[[str], str | None]


class Connection(Member, Protocol):
    peer: str

    def expire(self, now: float) -> None:
        """Called a few times a second for every connection: far cheaper than a timer for every request."""

    def shutdown(self) -> None: ...

    def give_up(self) -> None:
        """The time for draining is over; the process ends."""


class GatewayState(ServerState):
    """Kept by uvicorn's server."""

    def __init__(self, client_of: ClientOf) -> None:
        super().__init__()
        self.connections: set[Connection] = set()  # type: ignore[assignment]  # uvicorn names its own protocols
        self.client_of = client_of
        self.crowd = Crowd()
        self.date_line = b""
        self.draining = False

    def admit(self, connection: Connection, most: int) -> bool:
        """Whether there is room for it, or room was made at the cost of the client that takes most."""
        client = self.client_of(connection.peer)
        if len(self.connections) >= most:
            spared = self.crowd.dispensable(client)
            if spared is None:
                return False
            spared.give_way()
        self.connections.add(connection)
        if client is not None:
            self.crowd.add(client, connection)
        return True

    def dismiss(self, connection: Connection) -> None:
        self.connections.discard(connection)
        client = self.client_of(connection.peer)
        if client is not None:
            self.crowd.remove(client, connection)
