"""Issuers of bearer tokens, from the first save to their removal. A removed one's tokens are refused at once."""

from __future__ import annotations

from collections.abc import Iterable

from authgate.models.issuers import TokenIssuer
from authgate.outbound.errors import ProviderError
from authgate.policy.powers import Actor
from authgate.policy.schema import AdminAccess
from authgate.policy.turns import turn_of
from authgate.sealing import SealBroken, seal_text, unseal_text

# Whoever may point an issuer at another place decides who any caller is.
NEEDED_ACCESS: AdminAccess = "superuser"
SEALED_FOR = "introspection client secret"


def save(issuer: TokenIssuer, actor: Actor) -> None:
    """Raises ValidationError or PermissionDenied."""
    with turn_of(actor, NEEDED_ACCESS):
        issuer.full_clean()
        issuer.save()


def remove(issuers: Iterable[TokenIssuer], actor: Actor) -> int:
    """How many there were. Raises PermissionDenied."""
    with turn_of(actor, NEEDED_ACCESS):
        found = TokenIssuer.objects.filter(pk__in=[issuer.pk for issuer in issuers])
        removing = list(found)
        for issuer in removing:
            issuer.delete()
    return len(removing)


def seal_client_secret(slug: str, secret: str) -> str:
    """For `sealed_client_secret`."""
    return seal_text(secret, purpose=SEALED_FOR, place=slug) if secret else ""


def open_client_secret(slug: str, sealed: str) -> str:
    """Empty where there is none. Raises ProviderError."""
    try:
        return unseal_text(sealed, purpose=SEALED_FOR, place=slug) if sealed else ""
    except SealBroken:
        raise ProviderError(
            "provider_unavailable",
            "the client secret cannot be opened: AUTHGATE_SECRET_KEY is not the one it was stored with; enter it again",
        ) from None
