"""Bodies of requests to the gateway's own pages: only where a page reads one, only so much of it, only so long."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings

from authgate.own_pages import own_pages
from authgate.pages.known_operators import may_send_large_forms
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.target import is_below
from proxy.headers import BadFraming, request_body_length
from proxy.pipeline.budget import Budget, BudgetSpent, Loan
from proxy.pipeline.downstream import Receive

_MIB = 1024 * 1024
FORM_BYTES = 64 * 1024
ADMIN_FORM_BYTES: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
SECONDS = 30.0
BYTES_PER_SECOND = 64 * 1024  # of what goes beyond an ordinary form
# The free part is more than a sign-in form has: those who fill the budget keep nobody from signing in.
budget = Budget(total=32 * _MIB, share=8 * _MIB, free=4 * 1024)
# Operators whose cookies say so: whoever fills the other one keeps none of them out.
budget_of_known = Budget(total=32 * _MIB, share=8 * _MIB, free=4 * 1024)

_pages = own_pages(settings.AUTHGATE_AUTH_PREFIX)
_forms = [page.path for page in _pages if page.reads_form]
_documents = [page.path for page in _pages if page.reads_documents]


class BodyRefused(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class ClientGone(Exception):
    pass


def announced_length(facts: RequestFacts) -> int:
    """Bytes of the body by the head; of a chunked one, at least one. Raises BodyRefused if no page reads so much."""
    try:
        length = request_body_length(facts.headers)
    except BadFraming as error:
        raise BodyRefused(Reason.BAD_FRAMING) from error
    length = 1 if length is None else length
    if length > _most(facts):
        raise BodyRefused(Reason.BODY_TOO_LARGE)
    return length


async def read_body(facts: RequestFacts, snapshot: Snapshot | None, receive: Receive, loan: Loan) -> bytes:
    """The whole body. Raises BodyRefused, ClientGone, or TooBusy where the account of an administrator is asked for."""
    reading = _Reading(facts, snapshot, receive, loan)
    try:
        async with asyncio.timeout(SECONDS) as patience:
            return await reading.read(patience)
    except TimeoutError as error:
        raise BodyRefused(Reason.BODY_TIMEOUT) from error
    except BudgetSpent as error:
        raise BodyRefused(Reason.BUSY) from error


async def read_no_body(facts: RequestFacts, receive: Receive) -> None:
    """For a page without a form. Over HTTP/2 a body need not be announced. Raises BodyRefused, ClientGone."""
    announced_length(facts)
    more = True
    try:
        async with asyncio.timeout(SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                more = message.get("more_body", False)
                if message.get("body"):
                    raise BodyRefused(Reason.BODY_TOO_LARGE)
    except TimeoutError as error:
        raise BodyRefused(Reason.BODY_TIMEOUT) from error


class _Reading:
    def __init__(self, facts: RequestFacts, snapshot: Snapshot | None, receive: Receive, loan: Loan) -> None:
        self._facts = facts
        self._snapshot = snapshot
        self._receive = receive
        self._loan = loan
        self._limit = _limit(facts)

    async def read(self, patience: asyncio.Timeout) -> bytes:
        if announced_length(self._facts) > self._limit:
            await self._raise_limit(patience)
        body, more = bytearray(), True  # not a list: a stranger may send a byte at a time
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(part) > self._limit:
                await self._raise_limit(patience)
            self._loan.grow(len(part))
            body += part
        return bytes(body)

    async def _raise_limit(self, patience: asyncio.Timeout) -> None:
        """Once, and for nobody but an administrator: who asks for more is looked up in the database at most."""
        most, deadline = _most(self._facts), patience.when()
        if self._limit >= most or not await may_send_large_forms(self._facts, self._snapshot):
            raise BodyRefused(Reason.BODY_TOO_LARGE)
        self._limit = most
        patience.reschedule(None if deadline is None else deadline + most / BYTES_PER_SECOND)


def _limit(facts: RequestFacts) -> int:
    """Of a body from somebody who is nobody yet."""
    reads = _takes_document(facts) or (facts.method == "POST" and any(is_below(facts.path, form) for form in _forms))
    return FORM_BYTES if reads else 0


def _most(facts: RequestFacts) -> int:
    """Of a body from an administrator."""
    is_form = facts.method == "POST" and facts.path.startswith("/admin/") and facts.path != "/admin/login/"
    return max(ADMIN_FORM_BYTES, FORM_BYTES) if is_form or _takes_document(facts) else _limit(facts)


def _takes_document(facts: RequestFacts) -> bool:
    return any(is_below(facts.path, page) for page in _documents)


def replay(body: bytes, receive: Receive) -> Receive:
    """What gives this body at once, and afterwards the news that the client has left."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> dict[str, Any]:
        return first.pop() if first else await receive()

    return replayed
