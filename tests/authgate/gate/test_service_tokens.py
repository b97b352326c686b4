"""Whom a service token stands for, each check by itself. tests/authgate/authn/test_service_tokens.py asks the running
gateway."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from authgate.authn.cache import cache_key
from authgate.authn.credentials import Credential
from authgate.authn.revocations import Revocations
from authgate.authn.service_tokens import ServiceToken, digest_of, new_token
from authgate.authn.tokens import Kind
from authgate.gate import service_tokens
from authgate.policy.document import Grant, When
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential, TokenTerms
from authgate.state import last_used
from authgate.state.snapshot import Snapshot
from tests.support.signing import ISSUER, make_snapshot, make_trust

NOW = 1_800_000_000
TOKEN = new_token().encode()
SERVICE = ServiceToken(
    terms=TokenTerms(7, digest_of(TOKEN), "service_token"), subject="service|ci", issued_at=NOW - 60,
    expires_at=NOW + 60, roles=frozenset("ab"), is_over=False, email="ci@example.com", name="CI", provider="",
    claims={},
)  # fmt: skip
PERSONAL = replace(
    SERVICE, terms=replace(SERVICE.terms, kind="personal_token"), subject="idp|alice", provider="idp",
    claims={"groups": ["g"]},
)  # fmt: skip
GRANTS = (Grant("b", When(provider="idp", claim="groups", contains="g")), Grant("c", When(authenticated=True)))


def snapshot(token: ServiceToken = SERVICE, **trust: Any) -> Snapshot:
    return make_snapshot(make_trust(service_tokens={digest_of(TOKEN): token}, **trust), GRANTS)


def credential(token: bytes = TOKEN, *, by_basic: bool = False) -> Credential:
    return Credential(Kind.ACCESS, token, cache_key(Kind.ACCESS, token), by_basic=by_basic)


def identity(by: Snapshot | None = None, token: bytes = TOKEN, now: float = NOW, *, by_basic: bool = False) -> Identity:
    return service_tokens.service_identity(credential(token, by_basic=by_basic), by or snapshot(), now)


def refusal(by: Snapshot | None = None, token: bytes = TOKEN, now: float = NOW) -> str:
    try:
        identity(by, token, now)
    except InvalidCredential as refused:
        return refused.reason.value
    return ""


def test_whom_it_stands_for() -> None:
    found = identity()
    assert (found.subject, found.issuer, found.token_id) == ("service|ci", ISSUER, "svc:7")
    assert (found.issued_at, found.expires_at, found.terms) == (NOW - 60, NOW + 60, SERVICE.terms)
    assert (found.email, found.name, found.audiences) == ("ci@example.com", "CI", {ISSUER})
    assert (found.by_cookie, found.by_basic, identity(by_basic=True).by_basic) == (False, False, True)


def test_its_roles() -> None:
    """A personal token has the chosen ones that its person still has; a service's has its own and those of grants."""
    assert identity().roles == {"a", "b", "c"}
    assert identity(snapshot(PERSONAL)).roles == {"b"}
    assert identity(snapshot(replace(PERSONAL, provider="other"))).roles == set()
    assert identity(snapshot(PERSONAL)).claims == {"groups": ["g"]}


@pytest.mark.parametrize(
    ("now", "expected"), [(NOW + 59, ""), (NOW + 60, "token_expired"), (NOW + 61, "token_expired")]
)
def test_its_end(now: float, expected: str) -> None:
    assert refusal(now=now) == expected


@pytest.mark.parametrize(
    ("revocations", "expected"),
    [
        ({}, ""),
        ({("gateway", "service|ci"): NOW - 59}, "token_revoked"),
        ({("gateway", "service|ci"): NOW - 60}, ""),
        ({("gateway", ""): NOW}, "token_revoked"),
        ({("", "service|ci"): NOW}, "token_revoked"),
        ({("ci", ""): NOW}, ""),
        ({("gateway", "service|other"): NOW}, ""),
    ],
)
def test_what_is_revoked_with_it(revocations: dict[tuple[str, str], int], expected: str) -> None:
    assert refusal(snapshot(issued_before=Revocations(revocations))) == expected


def test_what_is_revoked_by_its_id() -> None:
    assert refusal(snapshot(revoked=("svc:7",))) == "token_revoked"
    assert refusal(snapshot(revoked=("7", "svc:8"))) == ""
    assert refusal(snapshot(replace(SERVICE, is_over=True))) == "token_revoked"


def test_what_is_none_of_ours() -> None:
    assert {refusal(token=token) for token in (new_token().encode(), TOKEN[:-1], b"agt_", b"")} == {"invalid_token"}
    # Without its checksum it is not even looked for.
    assert (
        refusal(make_snapshot(make_trust(service_tokens={digest_of(b"agt_x"): SERVICE})), b"agt_x") == "invalid_token"
    )


def test_it_is_remembered_as_long_as_it_holds() -> None:
    by = snapshot()
    assert identity(by) is identity(by)
    assert refusal(by, now=NOW + 60) == "token_expired"


def test_a_use_is_noted_unless_it_is_refused() -> None:
    last_used._used.clear()
    terms = replace(SERVICE.terms, networks=(ip_network("10.0.0.0/8"),), routes=frozenset(("git",)))
    assert service_tokens.use(terms, "192.0.2.1", "git") is Reason.NETWORK_NOT_ALLOWED
    assert service_tokens.use(terms, "10.1.1.1", "") is Reason.ROUTE_NOT_ALLOWED
    assert last_used._used == {}
    assert service_tokens.use(terms, "10.1.1.1", "git") is None
    assert set(last_used._used) == {7}
    last_used._used.clear()
