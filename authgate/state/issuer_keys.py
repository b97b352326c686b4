"""The keys of token issuers, fetched before they are needed: no request waits for an issuer whose keys are known.

One thread watches over them in each worker. An issuer that does not answer keeps its last good keys and holds up no
other one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from authgate.authn.issuers import Issuer, KeyRing, KeySource
from authgate.authn.jwk import KeysUnreadable, PublicKey, read_keys
from authgate.models.provider_rules import WELL_KNOWN, url_problem
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import Answer, get, read_object
from authgate.wire.authority import leads_to_loopback

logger = logging.getLogger(__name__)

# A set of keys is fetched again when it has this age, whatever its issuer says of Cache-Control.
SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 60.0, 600.0, 24 * 3600.0
# Whatever strangers send: an issuer is asked for a key it may have made meanwhile no more often. Counted from the last
# attempt, also from one that failed.
PAUSE_SECONDS = 10.0
WAIT_SECONDS = 5.0  # of a request, for keys that are not known
_LOOK_SECONDS = 5.0
_AT_ONCE = 4  # issuers
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
# RFC 8414 3.1 puts its path in between; the other one is OpenID Connect's.
_OAUTH_WELL_KNOWN = "/.well-known/oauth-authorization-server"


@dataclass(slots=True)
class _Watched:
    source: KeySource
    ring: KeyRing
    due_at: float = 0.0
    tried_at: float = float("-inf")
    problem: str = ""
    ignored: int = 0
    fetching: Future[None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class IssuerKeys:
    """Of one process. Threads and the event loop share it."""

    def __init__(self) -> None:
        self._watched: dict[KeySource, _Watched] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def ring_of(self, source: KeySource) -> KeyRing:
        """The same ring for the same source, whoever asks. Fetches nothing."""
        return self._watch(source).ring

    def keep_only(self, sources: set[KeySource]) -> None:
        """Others are forgotten; for those that are new, fetching begins."""
        with self._lock:
            self._watched = {source: watched for source, watched in self._watched.items() if source in sources}
        if self._thread is not None:
            self._look()

    def refetch(self, source: KeySource) -> Future[None] | None:
        """For a key that is not known. One fetch for all who ask; None: it was asked a moment ago, or is gone."""
        watched = self._watched.get(source)
        if watched is None or source.pasted:
            return None
        with watched.lock:
            if watched.fetching is not None:
                return watched.fetching
            if not _is_rested(watched):
                return None
        return self._begin(watched)

    def may_ask(self, source: KeySource) -> bool:
        """Whether `refetch` would be of any use now."""
        watched = self._watch(source)
        return source.pasted != "" or watched.fetching is not None or _is_rested(watched)

    def problem_of(self, source: KeySource) -> str:
        """Why its keys may be old, for operators. Empty: they are as they should be."""
        watched = self._watched.get(source)
        return watched.problem if watched is not None else ""

    def asked_at(self, source: KeySource) -> float:
        """When its last fetch began, by the monotonic clock. Of pasted keys there are never newer ones."""
        if source.pasted:
            return float("inf")
        watched = self._watched.get(source)
        return watched.tried_at if watched is not None else float("-inf")

    def start(self) -> None:
        """In each worker, after the fork."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="issuer-keys", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            thread.join(timeout=5)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while True:
            self._look()
            if self._stopping.wait(_LOOK_SECONDS):
                return

    def _look(self) -> None:
        now = time.monotonic()
        for watched in list(self._watched.values()):
            is_wanted = watched.ring.keys is not None or not watched.source.when_asked
            if is_wanted and now >= watched.due_at and watched.fetching is None:
                self._begin(watched)

    def _watch(self, source: KeySource) -> _Watched:
        with self._lock:
            watched = self._watched.get(source)
            if watched is None:
                watched = self._watched[source] = _Watched(source, KeyRing())
                if source.pasted:
                    watched.due_at = float("inf")
                    with suppress(ProviderError):
                        watched.ring.keys = fetch_keys(source).keys
            return watched

    def _begin(self, watched: _Watched) -> Future[None]:
        with watched.lock:
            if watched.fetching is None:
                watched.tried_at = time.monotonic()
                watched.fetching = self._threads().submit(self._fetch, watched)
            return watched.fetching

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, "issuer-keys")
            return self._pool

    def _fetch(self, watched: _Watched) -> None:
        seconds = PAUSE_SECONDS
        try:
            seconds = self._take(watched)
        except ProviderError as error:
            _tell(watched, error.detail)
        except Exception:
            logger.exception("issuer %s: its keys could not be read", watched.source.issuer)
        finally:
            with watched.lock:
                watched.due_at = time.monotonic() + seconds
                watched.fetching = None

    def _take(self, watched: _Watched) -> float:
        """Seconds until they are due again. Raises ProviderError."""
        found = fetch_keys(watched.source)
        watched.ring.keys = found.keys
        if found.ignored and found.ignored != watched.ignored:
            logger.warning("issuer %s: %d of its keys are of no use", watched.source.issuer, found.ignored)
        watched.ignored = found.ignored
        _tell(watched, "")
        return found.seconds


issuer_keys = IssuerKeys()


async def newer_keys(issuer: Issuer, issued_at: float = 0.0) -> bool:
    """Fetches the issuer's keys once more, unless that has just been done. False: it may have one that is not known.

    `issued_at`: of the token whose key is not known, as it says itself.
    """
    arrived = time.monotonic()
    fetching = issuer_keys.refetch(issuer.source)
    if fetching is not None:
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(fetching)), WAIT_SECONDS)
        except TimeoutError:
            return False
    if issuer_keys.problem_of(issuer.source):
        return False
    asked_at = issuer_keys.asked_at(issuer.source)
    # A key that was made after the issuer was asked is known at the end of the pause.
    return asked_at >= arrived or issued_at + issuer.leeway < time.time() - (time.monotonic() - asked_at)


def load_keys(source: KeySource, is_meant: Callable[[PublicKey], bool]) -> Sequence[PublicKey]:
    """All that the issuer has; fetched again when none is meant. Blocks. Raises ProviderError: it may have one that is
    meant, and could not be asked.
    """
    ring = issuer_keys.ring_of(source)
    if source.pasted or any(map(is_meant, ring.keys or ())):
        return ring.keys or ()
    fetching = issuer_keys.refetch(source)
    if fetching is None:
        raise ProviderError("provider_unavailable", "its key is unknown, and was asked for a moment ago")
    with suppress(TimeoutError):
        fetching.result(WAIT_SECONDS)
    if problem := issuer_keys.problem_of(source) or ("" if fetching.done() else "it does not answer in time"):
        raise ProviderError("provider_unavailable", problem)
    return ring.keys or ()


def _is_rested(watched: _Watched) -> bool:
    return time.monotonic() >= watched.tried_at + PAUSE_SECONDS


def _tell(watched: _Watched, problem: str) -> None:
    """Once for each cause, and once when it is over."""
    if problem and problem != watched.problem:
        kept = "its last good keys stay" if watched.ring.keys else "its tokens are refused"
        logger.error("issuer %s: %s; %s", watched.source.issuer, problem, kept)
    elif watched.problem and not problem:
        logger.info("issuer %s: its keys are here again", watched.source.issuer)
    watched.problem = problem


class Found(NamedTuple):
    keys: tuple[PublicKey, ...]
    ignored: int  # that are published and of no use
    seconds: float  # until they are due again


def fetch_keys(source: KeySource) -> Found:
    """Asks the issuer. Raises ProviderError."""
    if source.pasted:
        return _read(json.loads(source.pasted), float("inf"))
    url = source.jwks_url or discover(source.issuer, source.ca_certificates, "jwks_uri")
    answer = get(url, "JWKS", ca_certificates=source.ca_certificates)
    if answer.status != 200:
        raise ProviderError("provider_unavailable", f"the JWKS answered with status {answer.status}")
    return _read(read_object(answer.body, "JWKS"), _lasts(answer))


def _read(document: Mapping[str, Any], seconds: float) -> Found:
    try:
        keys = tuple(read_keys(document))
    except KeysUnreadable as error:
        raise ProviderError("provider_unavailable", str(error)) from None
    if not keys:
        raise ProviderError("provider_unavailable", "the JWKS holds no key that can be used")
    return Found(keys, len(document["keys"]) - len(keys), seconds)


def _lasts(answer: Answer) -> float:
    found = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
    seconds = float(found[1]) if found else USUAL_SECONDS
    # Somewhat before the end, so that a request never meets a set that is over.
    return min(max(seconds * 0.8, SHORTEST_SECONDS), LONGEST_SECONDS)


def discover(issuer: str, ca_certificates: str, member: str) -> str:
    """An endpoint of the issuer, by its discovery document (OpenID Connect Discovery, RFC 8414). Raises
    ProviderError."""
    return endpoint_of(_discovery_document(issuer, ca_certificates), issuer, member)


def endpoint_of(document: Mapping[str, object], issuer: str, member: str) -> str:
    """As its discovery document says. Raises ProviderError."""
    # To the letter: one more slash is another issuer (RFC 8414 3.3).
    if document.get("issuer") != issuer:
        raise ProviderError("provider_unavailable", f"the discovery document is of another issuer than {issuer!r}")
    url = document.get(member)
    if not isinstance(url, str) or not url:
        raise ProviderError("provider_unavailable", f"the discovery document names no {member}")
    problem = url_problem(url)
    # What an issuer elsewhere says of itself must not send us to services of this machine.
    if problem is None and leads_to_loopback(url) and not leads_to_loopback(issuer):
        problem = "is on this machine, and the issuer is not"
    if problem is not None:
        raise ProviderError("provider_unavailable", f"the discovery document's {member} is refused: it {problem}")
    return url


def _discovery_document(issuer: str, ca_certificates: str) -> Mapping[str, object]:
    for url in well_known_urls(issuer):
        answer = get(url, "discovery document", ca_certificates=ca_certificates)
        if answer.status == 200:
            return read_object(answer.body, "discovery document")
    raise ProviderError("provider_unavailable", f"the discovery document answered with status {answer.status}")


def well_known_urls(issuer: str) -> tuple[str, str]:
    base = issuer.rstrip("/")
    host, path = _split(base)
    return f"{base}{WELL_KNOWN}", f"{host}{_OAUTH_WELL_KNOWN}{path}"


def _split(url: str) -> tuple[str, str]:
    """Scheme and host; path."""
    begin = url.find("/", url.find("://") + 3)
    return (url, "") if begin < 0 else (url[:begin], url[begin:])
