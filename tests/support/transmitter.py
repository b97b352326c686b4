"""A transmitter of security events that is polled (RFC 8936): each event waits until it is acknowledged or refused."""

from __future__ import annotations

import json
from typing import Any

from tests.support.hostile import Reply, Seen
from tests.support.issuers import TokenMaker
from tests.support.token_provider import TokenProvider

POLL = "/events"
POLL_TOKEN = "a-token-for-polling"


class Transmitter(TokenMaker, TokenProvider):
    """Also the provider or the issuer. `status` other than 200: down. `body` replaces that of an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, str] = {}
        self.acked: list[str] = []
        self.refused: dict[str, dict[str, str]] = {}
        self.polls: list[dict[str, Any]] = []
        self.status = 200
        self.body: bytes | None = None
        self.forgets_acks = False
        self.answers[POLL] = self._poll

    @property
    def endpoint(self) -> str:
        return self.url + POLL

    def offer(self, *tokens: str) -> list[str]:
        names = [f"set-{len(self.polls)}-{len(self.waiting)}-{number}" for number, _ in enumerate(tokens)]
        self.waiting.update(zip(names, tokens, strict=True))
        return names

    def _poll(self, seen: Seen) -> Reply:
        asked = json.loads(seen.body)
        self.polls.append(asked | {"authorization": seen.headers.get("authorization")})
        if self.status != 200:
            return Reply(self.status)
        if not self.forgets_acks:
            self.acked += asked["ack"]
            self.refused |= asked["setErrs"]
            for name in (*asked["ack"], *asked["setErrs"]):
                self.waiting.pop(name, None)
        sets = dict(list(self.waiting.items())[: asked["maxEvents"]])
        return Reply(body=self.body or {"sets": sets, "moreAvailable": len(sets) < len(self.waiting)})
