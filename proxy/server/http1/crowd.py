"""Whose the connections of a worker are. Who has most is known in constant time, however many clients there are."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

_LOOKED_AT = 32  # of a client's connections, for one that can be closed


class Member(Protocol):
    """A connection that may have to give way."""

    @property
    def is_idle(self) -> bool: ...

    @property
    def waits_for_client(self) -> bool:
        """Only its client can go on: with a head, with a body, or by taking what is there."""

    def give_way(self) -> None:
        """For a client that has less. At once, so that there are never more than there may be."""


class Crowd:
    def __init__(self) -> None:
        self._connections: dict[str, dict[Member, None]] = {}  # by client, the longest unseen first
        self._clients: dict[int, dict[str, None]] = {}  # by how many connections they have
        self._most = 0

    def add(self, client: str, connection: Member) -> None:
        own = self._connections.setdefault(client, {})
        own[connection] = None
        self._move(client, len(own) - 1, len(own))
        self._most = max(self._most, len(own))

    def remove(self, client: str, connection: Member) -> None:
        own = self._connections.get(client, {})
        if connection not in own:
            return
        del own[connection]
        self._move(client, len(own) + 1, len(own))
        if not own:
            del self._connections[client]
        if self._most not in self._clients:
            self._most -= 1

    def dispensable(self, newcomer: str | None) -> Member | None:
        """A connection of the client that has most: an idle one; for another client also one that keeps us waiting.

        None while everybody has one, or where none of them can be spared.
        """
        if self._most < 2:
            return None
        client = next(iter(self._clients[self._most]))
        waiting = None
        own = self._connections[client]
        for connection in tuple(islice(own, _LOOKED_AT)):
            if connection.is_idle:
                return connection
            if waiting is None and connection.waits_for_client:
                waiting = connection
            own[connection] = own.pop(connection)  # others are looked at next time
        return waiting if client != newcomer else None

    def _move(self, client: str, before: int, after: int) -> None:
        if before:
            del self._clients[before][client]
            if not self._clients[before]:
                del self._clients[before]
        if after:
            self._clients.setdefault(after, {})[client] = None
