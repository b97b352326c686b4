"""Whether the sender of a bound token has its key: the proof of this request, and that it was not used before."""

from __future__ import annotations

from collections.abc import Awaitable

from authgate.authn.credentials import Credential
from authgate.authn.dpop import verify_proof
from authgate.ratelimit import NoRoom, take_once
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.hosts import is_known
from authgate.state.nonces import is_current
from authgate.state.snapshot import Snapshot


def prove_possession(
    identity: Identity, credential: Credential, facts: RequestFacts | None, snapshot: Snapshot, now: float
) -> bool | Awaitable[bool]:
    """Call it once for each request. False, now or later: the proof was used before. Raises InvalidCredential.

    `facts`: None where a page asks only who may have sent the request. There nobody is known by a bound token.
    """
    if facts is None or not credential.is_dpop:
        raise InvalidCredential(Reason.PROOF_REQUIRED, "the scheme must be DPoP")
    proofs = facts.headers.values(b"dpop")
    if not identity.key_thumbprint:
        raise InvalidCredential(Reason.BAD_PROOF, "the token is bound to no key: its scheme is Bearer")
    if len(proofs) != 1:
        raise InvalidCredential(Reason.BAD_PROOF, f"there must be one DPoP header, not {len(proofs)}")
    # A route for any host is served under any. Under the name of another service, it would take the proofs that this
    # service got from its callers, with their tokens.
    if not is_known(facts.authority.host, snapshot):
        raise InvalidCredential(
            Reason.BAD_PROOF, "no proof counts on a host that nobody has named in a route or setting"
        )
    proof = verify_proof(proofs[0], credential.unverified_token, identity.key_thumbprint, facts, now)
    issuer = snapshot.trust.issuers.get(identity.issuer)
    if issuer is not None and issuer.dpop == "nonce" and not is_current(proof.nonce):
        raise InvalidCredential(Reason.NONCE_REQUIRED)
    try:
        return take_once(proof.use, proof.expires_at, now)
    except NoRoom:
        raise InvalidCredential(Reason.BUSY) from None
