"""What the connections of one worker share, and which of them gives way when it is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from gateway_site.http1.crowd import Crowd

if TYPE_CHECKING:
    from gateway_site.http1.protocol import Http1Protocol

# Who a peer counts as; None for one that stands for many: a trusted proxy.
ClientOf = Callable[[str], str | None]


class GatewayState(ServerState):
    """Kept by uvicorn's server."""

    def __init__(self, client_of: ClientOf) -> None:
        super().__init__()
        self.connections: set[Http1Protocol] = set()  # type: ignore[assignment]  # uvicorn names its own protocols
        self.client_of = client_of
        self.crowd = Crowd()
        self.date_line = b""
        self.draining = False

    def admit(self, connection: Http1Protocol, most: int) -> bool:
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

    def dismiss(self, connection: Http1Protocol) -> None:
        self.connections.discard(connection)
        client = self.client_of(connection.peer)
        if client is not None:
            self.crowd.remove(client, connection)
