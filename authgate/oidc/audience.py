"""For whom an ID token is, and to whom it was issued (OpenID Connect Core 3.1.3.7, 3 to 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authgate.models.people import IdentityProvider
from authgate.oidc.log_words import listed


def find_audience_problem(claims: Mapping[str, Any], provider: IdentityProvider) -> str | None:
    audience = claims.get("aud")
    for_whom = audience if isinstance(audience, list) else [audience]
    if provider.client_id not in for_whom:
        return "it is for another audience"
    # Each of them could use the token, so each must be one that the operator trusts.
    if untrusted := [item for item in for_whom if item != provider.client_id and not _is_trusted(item, provider)]:
        return f"it is also for {listed(untrusted)}, and the provider's further audiences do not name that"
    # An application beside us in `aud` must not get in with what it was given.
    if len(for_whom) > 1 and "azp" not in claims:
        return "it is for several audiences, and has no azp to say which of them it was issued to"
    if "azp" in claims and claims["azp"] != provider.client_id:
        return "it was issued to another party"
    return None


def _is_trusted(audience: object, provider: IdentityProvider) -> bool:
    further: object = provider.further_audiences
    return isinstance(audience, str) and isinstance(further, list) and audience in further
