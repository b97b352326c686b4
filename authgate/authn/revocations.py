"""Revocations of a whole subject or issuer: what was issued before a moment is refused. Verifies nothing."""

from __future__ import annotations

from collections.abc import Mapping

from authgate.request import Identity


class Revocations:
    """Sessions are not asked about here: they end by their ID, so that people can sign in again at once."""

    __slots__ = ("_moments",)

    def __init__(self, moments: Mapping[tuple[str, str], int]) -> None:
        """Seconds since the epoch, by the issuer's slug and the subject. An empty one of the two stands for all."""
        self._moments = dict(moments)

    def refuses(self, issuer_slug: str, subject: str, issued_at: int) -> bool:
        """`issued_at` 0: the credential does not say, so it counts as issued before."""
        moment = self._moments.get
        return (
            issued_at < moment((issuer_slug, subject), 0)
            or issued_at < moment(("", subject), 0)
            or issued_at < moment((issuer_slug, ""), 0)
        )


def is_issued_before(identity: Identity, revocations: Revocations) -> bool:
    return not identity.session_id and revocations.refuses(identity.issuer_slug, identity.subject, identity.issued_at)
