"""Receiving a security event, whichever way it came: proven by its sender's keys, and acted on once."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from authgate.oidc.security_event import EventRefused, SecurityEvent, verify_event
from authgate.oidc.signed import FindKeys
from authgate.sessions.signals import Sender, name_of, react_once
from authgate.sessions.signers import all_signers

logger = logging.getLogger(__name__)


def receive_event(slug: str, raw: str) -> None:
    """Blocks for keys and rows. Raises EventRefused. ProviderError or DatabaseError: nothing is said about the event,
    and it may come again.
    """
    signer = next(all_signers(slug=slug), None)
    if signer is None:
        raise unknown_sender()
    event = verify_of(signer.sender, raw, signer.algorithms(), signer.keys)
    done = react_once(event, signer.sender)
    logger.info("event %s from %s: %s", name_of(event), slug, "received before" if done is None else done)


def verify_of(sender: Sender, raw: str, algorithms: Collection[str], keys: FindKeys) -> SecurityEvent:
    """Raises EventRefused."""
    return verify_event(raw, algorithms, keys, sender.issuer, sender.audiences, time.time())


def unknown_sender() -> EventRefused:
    return EventRefused("access_denied", "there is no such OpenID provider or token issuer, or it is disabled")
