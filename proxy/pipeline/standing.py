"""What goes on for longer than its credential: whether its caller would still be let in, and with the answer, for how
long."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from random import SystemRandom

from authgate.decision import Allowed
from authgate.gate.standing import objection, prove_again
from authgate.observe import strangers
from authgate.observe.strangers import Cause
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.sessions import renewal
from authgate.state.snapshot import current
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)
uniform = SystemRandom().uniform

# Sessions are renewed ahead of the end of what stands for them, and not all in the same second: those that came back
# after a restart go on together.
_AHEAD_SECONDS = renewal.RENEW_BEFORE - 5.0
_RETRY_SECONDS = 5.0
# For a session that cannot be renewed, because the database does not answer: then it ends.
_PATIENCE_SECONDS = 60.0


class Standing:
    """Asked several times a second, while nothing else happens."""

    __slots__ = ("_allowed", "_cause", "_headers", "_identity", "_renewal", "_seen", "_target", "_until", "over")

    def __init__(self, allowed: Allowed, target: str, cause: Cause) -> None:
        self.over: Reason | None = None
        self._allowed, self._target, self._cause = allowed, target, cause
        self._headers = allowed.facts.headers
        self._identity = allowed.identity
        self._seen = allowed.snapshot
        self._renewal: asyncio.Task[None] | None = None
        self._until = _renewal_time(allowed.identity)

    def look(self) -> Reason | None:
        """Why it must end now."""
        snapshot = current()
        if snapshot is not None and snapshot is not self._seen and self.over is None:
            self._seen = snapshot
            self.over = objection(self._allowed.facts, self._allowed.entry, self._target, self._identity, snapshot)
        if self._renewal is None and self.over is None and time.time() >= self._until:
            self._renewal = current_worker().loop.create_task(self._renew())
        return self.over

    async def _renew(self) -> None:
        strangers.cause.set(self._cause)
        try:
            await self._prove()
        except InvalidCredential as refused:
            self.over = refused.reason
        except renewal.NotRenewed as error:
            self._wait_for_better(str(error))
        except Exception:
            logger.exception("a credential could not be checked again")
            self.over = Reason.GATE_ERROR
        self._renewal = None

    async def _prove(self) -> None:
        """Raises InvalidCredential or NotRenewed."""
        entry, facts, headers = self._allowed.entry, self._allowed.facts, self._headers
        if self._identity is not None and self._identity.session_id:
            due = renewal.find_due(headers, facts.authority.host, self._seen.trust, self._allowed)
            renewed = await renewal.renew(due, facts.client) if due is not None else None
            if due is not None and renewed is None:
                raise InvalidCredential(Reason.TOKEN_EXPIRED)
            if due is not None and renewed is not None:
                headers = renewal.with_cookie(headers, due.token, renewed.token)
        identity = await prove_again(headers, entry)
        self._headers, self._identity = headers, identity
        self._until = _renewal_time(identity)
        if (snapshot := current()) is not None:
            self.over = objection(facts, entry, self._target, identity, snapshot)

    def _wait_for_better(self, why: str) -> None:
        identity = self._identity
        if identity is not None and time.time() > identity.expires_at + _PATIENCE_SECONDS:
            logger.warning("a session was not renewed, so what it had opened ends: %s", why)
            self.over = Reason.TOKEN_EXPIRED
        else:
            self._until = time.time() + uniform(_RETRY_SECONDS, 2 * _RETRY_SECONDS)


def _renewal_time(identity: Identity | None) -> float:
    """When what is known of the caller is to be proven again."""
    if identity is None:
        return math.inf
    if not identity.session_id:
        return identity.expires_at
    return max(identity.expires_at - uniform(0, _AHEAD_SECONDS), time.time() + 1)
