"""One proxied request: everything about it beyond bytes, for whichever server its client speaks to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from math import inf

from django.conf import settings

from authgate.decision import Allowed, Denied
from authgate.gate.authenticate import is_still_known, sent_token
from authgate.gate.preflight import cors_headers
from authgate.identity.blocks import IdentityBlocks
from authgate.identity.told import token_lines
from authgate.observe import metrics, tracing
from authgate.observe.access_log import Record
from authgate.policy.shaping import ResponseRules
from authgate.reason import Reason
from authgate.security_headers import SECURITY_HEADERS
from authgate.state.snapshot import current
from authgate.wire.headers import RawHeaders, header_block
from authgate.wire.own_cookies import OwnCookies
from proxy.failures import Failure
from proxy.headers import request_head
from proxy.pipeline.standing import Standing
from proxy.places import rewrite_places
from proxy.response_headers import Layout, ResponsePolicy, Values
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.targets import Target, UpstreamBusy, UpstreamUnreachable
from proxy.upstream.worker import current_worker

logger = logging.getLogger("proxy.failures")  # operators filter lines by it

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
_LONGEST_PATH = 200  # the access log has the whole one under the same request id

_blocks = IdentityBlocks()
_own_cookies = OwnCookies(secure=settings.SECURE)
_responses = ResponsePolicy(SECURITY_HEADERS, _own_cookies)


@lru_cache(maxsize=256)
def _responses_by(rules: ResponseRules) -> ResponsePolicy:
    changed = dict(rules.defaults)
    kept = [pair for pair in SECURITY_HEADERS if pair[0] not in changed]
    given = [(name, value) for name, value in changed.items() if value is not None]
    return ResponsePolicy(kept + given, _own_cookies, rules.removed, rules.added)


class Passage:
    __slots__ = ("_began", "_is_private", "_repeats", "_set_cookie", "_standing", "_target", "allowed", "record")

    def __init__(self, allowed: Allowed, record: Record) -> None:
        self.allowed = allowed
        self.record = record
        self._is_private = allowed.is_private
        self._began = time.monotonic()
        self._standing: Standing | None = None
        self._repeats = 0
        self._set_cookie: bytes | None = None  # of the target that the browser is to come back to
        self._target: Target  # that the request was sent to last

    def begin(self) -> None:
        """Now, for a request that waited for its client until here: that is no time of the service."""
        self._began = time.monotonic()

    @property
    def ends_at(self) -> float:
        """By `timeouts.total`, for all tries together."""
        total = self.allowed.entry.timeouts.total
        return inf if total is None else self._began + total

    async def connect(self, missed: dict[str, str], *, fresh: bool) -> UpstreamConnection:
        """Raises UpstreamUnreachable, also where the time for the whole request is up."""
        left = None if self.ends_at == inf else self.ends_at - time.monotonic()
        try:
            async with asyncio.timeout(left):
                return await current_worker().connect(self.allowed, missed, fresh=fresh)
        except TimeoutError as error:
            what = "no connection before the request's time was up (timeouts.total)"
            missed.setdefault(", ".join(self.allowed.entry.upstream.targets), what)
            raise UpstreamUnreachable(what) from error

    def is_revoked(self) -> bool:
        """Whether the caller was let in by what has been taken away since. The policy is not asked again."""
        allowed, snapshot = self.allowed, current()
        if allowed.identity is None or snapshot is None or snapshot.trust is allowed.snapshot.trust:
            return False
        return not is_still_known(allowed.identity, snapshot.trust)

    def objection(self) -> Reason | None:
        """Why what has no end of its own must end: the policy of now, or the credential's end, would not let it in."""
        if self._standing is None:
            self._standing = Standing(self.allowed, str(self._target), self.record.cause)
        return self._standing.look()

    def revoked(self) -> Denied:
        return self.allowed.failed(Reason.TOKEN_REVOKED)

    def objected(self, reason: Reason) -> Denied:
        """To what was under way already."""
        return self.allowed.refused(reason) if reason is Reason.BODY_TOO_LARGE else self.allowed.failed(reason)

    def request_head(self, target: Target, body_length: int | None) -> bytes:
        """The head for this target, with the caller's identity. `body_length`: None where it is chunked."""
        allowed, self._target = self.allowed, target
        if allowed.entry.upstream.balance == "cookie":
            affinity = current_worker().group_of(allowed).affinity
            self._set_cookie = affinity.set_cookie(allowed, str(target)) if affinity is not None else None
        identity = _blocks.block(allowed.identity, allowed.entry, allowed.snapshot)
        if (told := allowed.entry.told) is not None and told.tokens and allowed.identity is not None:
            identity += token_lines(told, sent_token(allowed.facts.headers, allowed.identity))
        return request_head(
            allowed.facts, allowed.entry, target.host_header, body_length, identity, self.record.request_id,
            tracing.traceparent_of(self.record), _own_cookies,
        )  # fmt: skip

    def may_repeat(self, failure: Failure, missed: dict[str, str]) -> bool:
        """Whether a request that had no body may be sent once more (RFC 9110 9.2.2).

        `missed` takes the target at fault. It is no fault that a kept connection was closed just as the request was
        written.
        """
        if not failure.unanswered or self.allowed.facts.method not in _IDEMPOTENT:
            return False
        if time.monotonic() >= self.ends_at:
            return False
        self._repeats += 1
        if not current_worker().may_repeat(self.allowed, failure, self._repeats):
            return False
        metrics.count_retry(self.allowed.entry.route.upstream)
        if not failure.stale:
            missed[failure.target] = failure.what
        return True

    def unreachable(self, error: UpstreamUnreachable, missed: dict[str, str]) -> Failure:
        """`missed`: targets without a connection, and why."""
        if isinstance(error, UpstreamBusy):
            return Failure(Reason.UPSTREAM_BUSY, str(error), ", ".join(self.allowed.entry.upstream.targets))
        slow = isinstance(error.__cause__, TimeoutError)
        reason = Reason.UPSTREAM_TIMEOUT if slow else Reason.UPSTREAM_UNREACHABLE
        return Failure(reason, _each_once(missed.values()), ", ".join(missed))

    # -- the way back ---------------------------------------------------------------------------------------

    def head_arrived(self, status: int) -> None:
        self.record.status = status
        self.record.upstream_seconds = time.monotonic() - self._began

    @property
    def _finishing(self) -> ResponsePolicy:
        rules = self.allowed.entry.response_rules
        return _responses if rules is None else _responses_by(rules)

    def ordinary_lines(self, layout: Layout, values: Values) -> bytes | None:
        """As ResponsePolicy.ordinary_lines."""
        if self._set_cookie is not None:
            return None
        entry = self.allowed.entry
        if entry.response_rules is None and entry.cors is None:
            return _responses.ordinary_lines(layout, values, private=self._is_private)
        lines = self._finishing.ordinary_lines(layout, values, private=self._is_private)
        if lines is None or entry.cors is None:
            return lines
        return lines + header_block(cors_headers(entry.cors, self.allowed.facts.headers))

    def response_headers(self, layout: Layout, values: Values) -> RawHeaders:
        """As the visitor of this request gets them. Raises BadFraming."""
        headers = self._finishing.finish(layout, values, private=self._is_private)
        if layout.has_places:
            headers = rewrite_places(headers, self.allowed.entry, self.allowed.facts)
        if (cors := self.allowed.entry.cors) is not None:
            headers += cors_headers(cors, self.allowed.facts.headers)
        if self._set_cookie is not None:
            headers = [*headers, (b"set-cookie", self._set_cookie)]
        return headers

    # -- when something is wrong with the upstream: one line on standard error for each request at most --------

    def refuse(self, failure: Failure) -> Denied:
        """No response came."""
        self.report(failure)
        return self.allowed.failed(failure.reason)

    def cut(self, failure: Failure) -> None:
        """The response did not reach its end."""
        self.record.cut = failure.reason
        self.report(failure)

    def report(self, failure: Failure) -> None:
        outcome = "the response was cut" if self.record.cut else f"answered with {failure.reason}"
        self._tell(failure.target, f"{failure.what}; {outcome}", failure.error)

    def report_missed(self, missed: dict[str, str]) -> None:
        """As in `unreachable`; then another target was asked."""
        self.report_oddity(", ".join(missed), f"{_each_once(missed.values())}; another target was asked")

    def report_oddity(self, target: str, what: str) -> None:
        """The response reached the client all the same."""
        self._tell(target, what, None)

    def _tell(self, target: str, what: str, error: BaseException | None) -> None:
        facts = self.allowed.facts
        path = facts.path if len(facts.path) <= _LONGEST_PATH else f"{facts.path[:_LONGEST_PATH]}…"
        logger.log(
            logging.ERROR if error else logging.WARNING,
            "upstream %s, target %s: %s %s: %s",
            self.allowed.entry.route.upstream, target, facts.method, path, what,
            # Callbacks of the loop end here as well, where nobody knows for whom they work.
            exc_info=error, extra={"cause": self.record.cause},
        )  # fmt: skip


def _each_once(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
