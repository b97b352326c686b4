"""Receiving a security event, whichever way it came: proven by its sender's keys, and acted on once."""

from __future__ import annotations

import logging
import time

from django.conf import settings

from authgate.models.people import IdentityProvider
from authgate.oidc.metadata import Metadata
from authgate.oidc.provider import ProviderClient
from authgate.oidc.security_event import EventRefused, SecurityEvent, verify_event
from authgate.oidc.signed import FindKeys
from authgate.sessions.signals import Sender, name_of, react_once

logger = logging.getLogger(__name__)


def receive_event(slug: str, raw: str) -> None:
    """Blocks for keys and rows. Raises EventRefused. ProviderError or DatabaseError: nothing is said about the event,
    and it may come again.
    """
    provider = IdentityProvider.objects.filter(slug=slug, kind=IdentityProvider.Kind.OIDC, enabled=True).first()
    if provider is None:
        raise unknown_sender()
    client = ProviderClient(provider)
    event = verify_for(provider, raw, client.metadata(), client.keys)
    done = react_once(event, _sender(provider))
    logger.info("event %s from %s: %s", name_of(event), slug, "received before" if done is None else done)


def verify_for(provider: IdentityProvider, raw: str, metadata: Metadata, keys: FindKeys) -> SecurityEvent:
    """Raises EventRefused."""
    sender = _sender(provider)
    return verify_event(raw, metadata.algorithms, keys, sender.issuer, sender.audiences, time.time())


def unknown_sender() -> EventRefused:
    return EventRefused("access_denied", "there is no such OpenID provider, or it is disabled")


def _sender(provider: IdentityProvider) -> Sender:
    """A transmitter calls a receiver by its client ID, or by the address that it posts to."""
    address = f"{settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/events/{provider.slug}"
    return Sender(provider.slug, provider.issuer, frozenset((provider.client_id, address)))
