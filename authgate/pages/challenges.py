"""What to send instead of a refused credential: the challenges of RFC 6750 section 3 and RFC 9449 section 7.1."""

from __future__ import annotations

from authgate.authn.jwk import ALGORITHMS
from authgate.reason import Reason
from authgate.state.nonces import current_nonce
from authgate.wire.headers import RawHeaders

CREDENTIAL_REASONS = frozenset(
    (
        Reason.INVALID_TOKEN, Reason.TOKEN_EXPIRED, Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_REVOKED,
        Reason.TOKEN_INACTIVE, Reason.ISSUER_UNCLEAR,
        Reason.BAD_SIGNATURE, Reason.UNKNOWN_KEY, Reason.WRONG_ISSUER, Reason.WRONG_AUDIENCE,
        Reason.WRONG_TYPE, Reason.CLAIM_MISSING, Reason.PROOF_REQUIRED, Reason.BAD_PROOF, Reason.NONCE_REQUIRED,
    )
)  # fmt: skip
_ABOUT_PROOFS = frozenset((Reason.PROOF_REQUIRED, Reason.BAD_PROOF, Reason.NONCE_REQUIRED))
_ALGORITHMS = " ".join(sorted(ALGORITHMS))
_BEARER = 'Bearer realm="authgate"'
_ERRORS = {
    **{reason: ("invalid_token", reason.value.replace("_", " ")) for reason in CREDENTIAL_REASONS},
    Reason.MALFORMED_CREDENTIAL: ("invalid_request", "The Authorization header is malformed"),
    Reason.INSUFFICIENT_SCOPE: ("insufficient_scope", "A scope is missing"),
    Reason.MISSING_ROLE: ("insufficient_scope", "A role is missing"),
    Reason.BAD_PROOF: ("invalid_dpop_proof", "bad proof"),
    Reason.NONCE_REQUIRED: ("use_dpop_nonce", "nonce required"),
}


def challenge_of(reason: Reason, *, by_dpop: bool) -> str:
    """`by_dpop`: the refused credential came with the scheme DPoP. Empty: another credential would change nothing."""
    if reason is Reason.NO_CREDENTIAL:
        return _BEARER
    if reason not in _ERRORS:
        return ""
    error, description = _ERRORS[reason]
    said = f'error="{error}", error_description="{description}"'
    return f'DPoP {said}, algs="{_ALGORITHMS}"' if by_dpop or reason in _ABOUT_PROOFS else f"{_BEARER}, {said}"


def nonce_for(reason: Reason) -> RawHeaders:
    return [(b"dpop-nonce", current_nonce().encode("ascii"))] if reason is Reason.NONCE_REQUIRED else []
