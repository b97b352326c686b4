"""Which security events that are pushed are worth a thread."""

from __future__ import annotations

from authgate.oidc.security_event import check_event_form
from authgate.policy.table import Limit
from authgate.sessions.posted import Guard, known_signer, verify_by
from authgate.sessions.receiving import receive_event, unknown_sender, verify_of
from authgate.sessions.signals import used_key
from authgate.threads import event_lanes

STRANGERS = Limit("/events of strangers", 1 / 500, 1000, "client")

_guard = Guard(STRANGERS)


async def receive_pushed(slug: str, raw: str, address: str) -> None:
    """Once it returns, the event is in force on every worker. Raises EventRefused, ProviderError or TooBusy."""
    check_event_form(raw)
    signer = await known_signer(slug)
    if signer is None:
        raise unknown_sender()
    _guard.admit(address)
    event = await verify_by(signer, lambda algorithms, keys: verify_of(signer.sender, raw, algorithms, keys))
    _guard.remember_good(address)
    key = used_key(slug, event.jti)
    # A transmitter that has not heard our answer sends it again (RFC 8935 2). It gets the same one, to no effect.
    if key not in _guard.used:
        await event_lanes.run(slug, receive_event, slug, raw)
        _guard.used.put(key, None)
