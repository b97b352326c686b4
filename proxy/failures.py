"""What can go wrong between a service and its visitor."""

from __future__ import annotations

from typing import NamedTuple

from authgate.reason import Reason

# Why a response did not reach its end, where that is not a Reason.
CLIENT_LEFT = "client"
SHUTDOWN = "shutdown"
REVOKED = "revoked"


def cut_by(objection: Reason) -> str:
    """The log's word for why what was let in did not go on."""
    return REVOKED if objection is Reason.TOKEN_REVOKED else objection.value


class CannotPass(ValueError):
    """What a service sent of its response is not for this client. Its text says why."""


class Failure(NamedTuple):
    reason: Reason
    what: str  # in plain words
    target: str
    error: BaseException | None = None  # of ours, while reading a response
    unanswered: bool = False  # not a byte of a response came
    stale: bool = False  # a kept connection was lost before a byte of the response: another one may serve
