"""Security events that are fetched (RFC 8936), for transmitters that do not push them.

Received as a pushed one is, and acknowledged afterwards: whatever ends this process in between, the event comes again,
to no effect. One worker of all machines asks a transmitter at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import Error as DatabaseProblem
from django.db.models import Q
from django.utils import timezone

from authgate.models.polling import EventPoll
from authgate.oidc.event_endpoint import Transmitter, ask
from authgate.oidc.log_words import listed
from authgate.oidc.security_event import EventRefused
from authgate.outbound.errors import ProviderError
from authgate.sessions.receiving import receive_event
from authgate.sessions.signers import all_signers
from authgate.threads import Shared, Threads, TooBusy

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
MOST_EVENTS = 50  # in one answer
MOST_ANSWERS = 10  # in one turn
# Nothing new is begun later. Then one event may wait for keys and the database, and one answer is told of it.
TURN_SECONDS = 20.0
# Of a turn whose process has died: only then another worker takes the next one.
LEASE_SECONDS = 60.0
_LOOK_SECONDS = 2.0


@dataclass
class _Handled:
    ack: list[str] = field(default_factory=list)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    waits: str = ""  # why something is to come again


async def poll_always(threads: Threads) -> None:
    """In each worker, until it is cancelled."""
    turns, stopping = Shared(threads, most_waiting=1), threading.Event()
    under_way: set[asyncio.Task[None]] = set()
    try:
        while True:
            await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311  (not all workers at once)
            for slug in await _find_due(threads):
                task = asyncio.create_task(_run(turns, slug, stopping))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
    finally:
        stopping.set()


async def _find_due(threads: Threads) -> list[str]:
    try:
        return await threads.run(find_due)
    except (TooBusy, DatabaseProblem):  # of the database others tell
        return []


async def _run(turns: Shared, slug: str, stopping: threading.Event) -> None:
    try:
        await turns.run(slug, take_turn, slug, stopping)
    except TooBusy:
        pass  # its turn is under way here
    except Exception:
        # The next turn tries again.
        logger.exception("events of %s could not be fetched", slug)


def find_due() -> list[str]:
    transmitters = [transmitter.slug for transmitter in _polled()]
    if not transmitters:
        return []
    waiting = set(EventPoll.objects.exclude(_is_due(timezone.now())).values_list("slug", flat=True))
    return [slug for slug in transmitters if slug not in waiting]


def take_turn(slug: str, stopping: threading.Event) -> None:
    """Fetches what there is, unless another worker does. Raises DatabaseError: then nothing is lost."""
    transmitter = next(iter(_polled(slug=slug)), None)
    if transmitter is None or not _claim(slug):
        return
    try:
        problem = _fetch(transmitter, stopping)
    except ProviderError as error:
        problem = error.detail
    _finish(slug, problem)


def _polled(**conditions: str) -> list[Transmitter]:
    return [signer.transmitter for signer in all_signers(poll_endpoint__gt="", **conditions)]


def _is_due(now: datetime) -> Q:
    # Further away than any pause: the clock was set back since.
    later = now + timedelta(seconds=2 * LONGEST_PAUSE_SECONDS)
    return Q(next_at__lte=now) | Q(next_at__gt=later)


def _claim(slug: str) -> bool:
    now = timezone.now()
    EventPoll.objects.get_or_create(slug=slug, defaults={"next_at": now})
    due = EventPoll.objects.filter(_is_due(now), slug=slug)
    return due.update(next_at=now + timedelta(seconds=LEASE_SECONDS)) == 1


def _finish(slug: str, problem: str) -> None:
    poll = EventPoll.objects.get(slug=slug)
    if problem and problem != poll.problem:
        logger.error("events of %s are not fetched: %s", slug, problem)
    elif poll.problem and not problem:
        logger.info("events of %s are fetched again", slug)
    pause = min(POLL_SECONDS * 2 ** min(poll.failures + 1, 20), LONGEST_PAUSE_SECONDS) if problem else POLL_SECONDS
    poll.failures, poll.problem = (poll.failures + 1, problem[:400]) if problem else (0, "")
    poll.next_at = timezone.now() + timedelta(seconds=pause)
    poll.save()


def _fetch(transmitter: Transmitter, stopping: threading.Event) -> str:
    """Why something has to come again, or nothing. Raises ProviderError."""
    ends_at = time.monotonic() + TURN_SECONDS

    def is_over() -> bool:
        return stopping.is_set() or time.monotonic() >= ends_at

    handled = _Handled()
    for _ in range(MOST_ANSWERS):
        events = ask(transmitter, MOST_EVENTS, handled.ack, handled.refused)
        if not events:
            return ""
        handled = _Handled()
        for name, raw in events.items():
            if is_over():
                break
            _handle(transmitter.slug, name, raw, handled)
        if handled.waits or is_over():
            break
    ask(transmitter, 0, handled.ack, handled.refused)
    return handled.waits


def _handle(slug: str, name: str, raw: str, handled: _Handled) -> None:
    try:
        receive_event(slug, raw)
    except EventRefused as refused:
        logger.warning("an event of %s is refused: %s: %s", slug, refused.err, refused)
        handled.refused[name] = {"err": refused.err, "description": str(refused)}
    except ProviderError as error:
        handled.waits = error.detail
    except Exception:
        # Those behind it must not wait for what this one runs into.
        logger.exception("event %s of %s has to wait", listed([name]), slug)
        handled.waits = "an event could not be acted on"
    else:
        handled.ack.append(name)
