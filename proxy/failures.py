"""Failures of upstreams, told on standard error: one line for each request at most."""

from __future__ import annotations

import logging
from typing import NamedTuple

from authgate.observe.access_log import Record
from authgate.reason import Reason

logger = logging.getLogger(__name__)

_LONGEST_PATH = 200  # the access log has the whole one under the same request id

# Why a response did not reach its end, where that is not a Reason.
CLIENT_LEFT = "client"
SHUTDOWN = "shutdown"


class Failure(NamedTuple):
    reason: Reason
    what: str  # in plain words
    target: str
    error: BaseException | None = None  # of ours, while reading a response


def report(record: Record, failure: Failure) -> None:
    """The response did not come, or did not reach its end."""
    outcome = "the response was cut" if record.cut else f"answered with {failure.reason}"
    _tell(record, failure.target, f"{failure.what}; {outcome}", failure.error)


def report_oddity(record: Record, target: str, what: str) -> None:
    """The response reached the client all the same."""
    _tell(record, target, what, None)


def _tell(record: Record, target: str, what: str, error: BaseException | None) -> None:
    facts, decision = record.facts, record.decision
    assert facts is not None and decision is not None and decision.route is not None  # noqa: S101
    path = facts.path if len(facts.path) <= _LONGEST_PATH else f"{facts.path[:_LONGEST_PATH]}…"
    logger.log(
        logging.ERROR if error else logging.WARNING,
        "upstream %s, target %s: %s %s: %s (request %s)",
        decision.route.upstream_name, target, facts.method, path, what, record.request_id,
        # Callbacks of the loop end here as well, where nobody knows for whom they work.
        exc_info=error, extra={"client": facts.client},
    )  # fmt: skip
