"""Which logout tokens are worth a thread."""

from __future__ import annotations

import time

from authgate.oidc.logout_token import REFUSED, LogoutToken, already_used, read_form, refusal, verify
from authgate.outbound.errors import ProviderError
from authgate.policy.table import Limit
from authgate.sessions.logout import backchannel, used_key
from authgate.sessions.posted import Guard, known_provider, verify_by
from authgate.sessions.signers import ProviderSigner
from authgate.threads import logout_lanes

STRANGERS = Limit("/logout tokens of strangers", 1 / 500, 1000, "client")

_guard = Guard(STRANGERS)


async def log_out(slug: str, body: bytes, address: str) -> None:
    """Raises ProviderError, or TooBusy."""
    key = used_key(slug, (await _check(slug, body, address)).jti)
    if key in _guard.used:
        raise already_used()
    _guard.used.put(key, None)  # or it is on its way
    _guard.remember_good(address)
    try:
        await logout_lanes.run(slug, backchannel, slug, body)
    except BaseException as error:
        if not (isinstance(error, ProviderError) and error.code == REFUSED):
            _guard.used.pop(key, None)  # nothing was said about the token: it may come again
        raise


async def _check(slug: str, body: bytes, address: str) -> LogoutToken:
    raw = read_form(body)
    provider = await known_provider(slug)
    if provider is None:
        raise refusal("there is no such OpenID provider, or it is disabled")
    _guard.admit(address)
    issuer, client_id = provider.issuer, provider.client_id
    return await verify_by(
        ProviderSigner(provider),
        lambda algorithms, keys: verify(raw, algorithms, keys, issuer, client_id, time.time()),
    )
