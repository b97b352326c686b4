"""Whom it cuts off when an operator retires signing keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from authgate.models.trust import SigningKey
from authgate.sessions.live import count, cut_off, signed_out
from authgate.state.minting import unexpired
from authgate.state.signing_keys import Purpose, sessions_signed_by

_SUBJECTS_SHOWN = 10


def effects_of_retiring(keys: Sequence[SigningKey]) -> Iterator[str]:
    """In words for an operator."""
    yield f"{count(len(keys), 'key')} will be retired: {', '.join(key.kid for key in keys)}."
    purposes = {key.purpose for key in keys}
    if Purpose.TOKENS in purposes:
        yield signed_out(cut_off(sessions_signed_by(keys)))
        yield _tokens_signed_by(keys)
    if Purpose.ASSERTIONS in purposes:
        yield "Services refuse assertions signed with these keys as soon as they fetch the key set again."


def _tokens_signed_by(keys: Sequence[SigningKey]) -> str:
    tokens = unexpired().filter(kid__in=[key.kid for key in keys])
    subjects = sorted(set(tokens.order_by().values_list("subject", flat=True)))
    if not subjects:
        return "No access token is known that these keys have signed; whatever they have signed is refused."
    more = f" and {len(subjects) - _SUBJECTS_SHOWN} more" if len(subjects) > _SUBJECTS_SHOWN else ""
    named = ", ".join(subjects[:_SUBJECTS_SHOWN])
    return f"{count(tokens.count(), 'access token')} that mint_token has made will be refused, of {named}{more}."
