"""Asking a transmitter for security event tokens, and telling it what became of them (RFC 8936)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError

from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import place_of, post, read_object
from authgate.sealing import SealBroken, seal_text, unseal_text

SEALED_FOR = "event poll token"
Transmitter = IdentityProvider | TokenIssuer
_WHAT = "event polling endpoint"
_TOKEN = re.compile("[!-~]{1,4096}")


def set_token(transmitter: Transmitter, token: str) -> None:
    """On the instance alone; an empty one leaves what is stored. Raises ValidationError."""
    if not token:
        return
    if not _TOKEN.fullmatch(token):
        raise ValidationError({"poll_token": "must be 1 to 4,096 characters of ASCII without blanks"})
    if not transmitter.poll_endpoint:
        raise ValidationError({"poll_token": "is for the event polling endpoint: enter that, too"})
    transmitter.sealed_poll_token = seal_text(token, purpose=SEALED_FOR, place=transmitter.slug)


def open_token(transmitter: Transmitter) -> str:
    """Empty where there is none. Raises ProviderError."""
    sealed = transmitter.sealed_poll_token
    try:
        return unseal_text(sealed, purpose=SEALED_FOR, place=transmitter.slug) if sealed else ""
    except SealBroken:
        raise ProviderError(
            "provider_unavailable",
            "the event poll token cannot be opened: AUTHGATE_SECRET_KEY is not the one it was stored with; "
            "enter it again",
        ) from None


def ask(
    transmitter: Transmitter, most: int, ack: Sequence[str] = (), refused: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, str]:
    """Event tokens by the name to acknowledge them with; no more than `most`. Raises ProviderError."""
    asked = {"maxEvents": most, "returnImmediately": True, "ack": list(ack), "setErrs": dict(refused or {})}
    token = open_token(transmitter)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = post(transmitter.poll_endpoint, _WHAT, asked, ca_certificates=transmitter.ca_certificates, headers=headers)
    if answer.status != 200:
        hint = ": is its token right?" if answer.status in (401, 403) else ""
        raise ProviderError("provider_unavailable", f"the {_WHAT} answered with status {answer.status}{hint}")
    return dict(list(_sets(read_object(answer.body, _WHAT)).items())[:most])


def test(transmitter: Transmitter) -> str:
    """What an operator is told. Fetches and acknowledges nothing. Raises ProviderError."""
    ask(transmitter, 0)
    return f"fetched from {place_of(transmitter.poll_endpoint)}, which answers"


def _sets(document: Mapping[str, Any]) -> dict[str, str]:
    sets = document.get("sets", {})
    if not isinstance(sets, dict) or not all(isinstance(raw, str) for raw in sets.values()):
        raise ProviderError("provider_unavailable", f"the {_WHAT} sent no object of tokens")
    return sets
