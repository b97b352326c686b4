"""One test for each way the gate answers; the doors in front of it add nothing."""

from __future__ import annotations

import gc
import time
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec.structs import replace as replace_fields

from authgate.bounded import Bounded
from authgate.decision import Decision
from authgate.gate.decide import decide
from authgate.gate.steps import run_here
from authgate.policy.document import PolicyDocument, RateLimit, Role, Route, Upstream
from authgate.policy.table import RouteTable, build_table
from authgate.policy.validation import validate
from authgate.ratelimit import guesses
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers
from tests.support.signing import make_snapshot, make_trust, sign_token

UP = {"api": Upstream(targets=("http://127.0.0.1:1",))}
ALICE, ADMIN = sign_token(), sign_token(claims={"sub": "root", "roles": ["admin"]})
EXPIRED = sign_token(claims={"iat": 1, "exp": 2})
CROSS = (b"sec-fetch-site", b"cross-site")


def route(name: str, **changes) -> Route:
    return Route(**{"name": name, "path": f"/{name}", "access": "public", "upstream": "api", **changes})


ROUTES = (
    route("public"),
    route("admin", path="/public/admin", access="roles", roles=("admin",)),
    route("members", access="authenticated"),
    route("read", methods=("GET",)),
    route("off", enabled=False),
    route("off-below", path="/public/off", enabled=False),
    route("broken", upstream="gone"),
    route("unknown-role", path="/public/unknown-role", access="roles", roles=("gone",)),
)


def snapshot(*routes: Route, limits: dict[str, RateLimit] | None = None, **trust) -> Snapshot:
    roles = {"admin": Role()}
    document = PolicyDocument(upstreams=UP, roles=roles, rate_limits=limits or {}, routes=routes or ROUTES)
    errors = validate(document, own_hosts={"gateway.test"}, auth_prefix="/auth")
    return replace(make_snapshot(make_trust(**trust)), document=document, table=build_table(document, errors))


def decided(facts: RequestFacts, by: Snapshot | None) -> Decision:
    return run_here(decide(facts, by))


def facts_of(path: str, *headers, method="GET", client="203.0.113.1") -> RequestFacts:
    host = parse_authority(b"gateway.test")
    return RequestFacts(
        method, "http", host, path, b"", client, client, Headers([(b"host", b"gateway.test"), *headers])
    )


def ask(path: str, *headers, method="GET", by: Snapshot | None = None, client="203.0.113.1"):
    return decided(facts_of(path, *headers, method=method, client=client), by or snapshot())


def bearer(token: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token


def session(token: bytes) -> tuple[bytes, bytes]:
    return b"cookie", b"auth_token=" + token


ALLOWED = {
    "public": ("/public", (), Reason.PUBLIC, None),
    "public and known": ("/public/x", (bearer(ALICE),), Reason.PUBLIC, "alice"),
    "public with a bad credential": ("/public/x", (bearer(EXPIRED),), Reason.PUBLIC, None),
    "public with two credentials": ("/public/x", (bearer(ALICE), bearer(ADMIN)), Reason.PUBLIC, None),
    "authenticated": ("/members", (bearer(ALICE),), Reason.AUTHENTICATED, "alice"),
    "authenticated by cookie": ("/members", (session(ALICE),), Reason.AUTHENTICATED, "alice"),
    "role": ("/public/admin/x", (bearer(ADMIN),), Reason.ROLE, "root"),
}


@pytest.mark.parametrize(("path", "headers", "reason", "subject"), ALLOWED.values(), ids=ALLOWED.keys())
def test_the_gate_lets_in(path, headers, reason, subject):
    decision = ask(path, *headers)
    assert (decision.allowed, decision.reason) == (True, reason)
    assert (decision.identity.subject if decision.identity else None) == subject


REFUSED = {
    "no route": ("/elsewhere", (), Reason.NO_ROUTE),
    "no route for the neighbour": ("/publicity", (), Reason.NO_ROUTE),
    "no credential": ("/members", (), Reason.NO_CREDENTIAL),
    "no credential for a role": ("/public/admin", (), Reason.NO_CREDENTIAL),
    "expired": ("/members", (bearer(EXPIRED),), Reason.TOKEN_EXPIRED),
    "malformed": ("/members", (bearer(b""),), Reason.MALFORMED_CREDENTIAL),
    "no token": ("/members", (bearer(b"x.y.z"),), Reason.INVALID_TOKEN),
    "bad bearer and good cookie": ("/members", (bearer(EXPIRED), session(ALICE)), Reason.TOKEN_EXPIRED),
    "role missing": ("/public/admin", (bearer(ALICE),), Reason.MISSING_ROLE),
    "switched off": ("/off", (bearer(ADMIN),), Reason.ROUTE_DISABLED),
    "switched off below an open one": ("/public/off/x", (), Reason.ROUTE_DISABLED),
    "invalid": ("/broken", (bearer(ADMIN),), Reason.ROUTE_INVALID),
    "invalid below an open one": ("/public/unknown-role", (bearer(ADMIN),), Reason.ROUTE_INVALID),
    "another case": ("/public/ADMIN", (bearer(ADMIN),), Reason.BAD_TARGET),
    "two readings": ("/public/admin%3Bx", (bearer(ADMIN),), Reason.BAD_TARGET),
}


@pytest.mark.parametrize(("path", "headers", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_the_gate_refuses(path, headers, reason):
    decision = ask(path, *headers)
    assert (decision.allowed, decision.reason) == (False, reason)


def test_what_is_remembered_of_a_path_is_of_one_policy():
    before, after = snapshot(), snapshot(route("public", access="authenticated"))
    assert [ask("/public", by=by).reason for by in (before, before, after)] == [
        Reason.PUBLIC, Reason.PUBLIC, Reason.NO_CREDENTIAL,
    ]  # fmt: skip


def test_what_is_remembered_of_a_path_is_of_one_host_and_method():
    by = snapshot(route("read", path="/x", methods=("GET",)), route("other", path="/y", host="other.test"))
    assert ask("/x", by=by).allowed
    assert ask("/x", by=by, method="POST").reason is Reason.NO_ROUTE
    assert by.find("other.test", "/y", "GET")[0].route.name == "other"
    assert ask("/y", by=by).reason is Reason.NO_ROUTE


@pytest.mark.parametrize("path", ["/elsewhere", "/public/admin%3Bx"])
def test_a_refusal_remembered_stays_one(path):
    by = snapshot()
    assert [ask(path, bearer(ADMIN), by=by).allowed for _ in range(3)] == [False] * 3


def test_long_paths_are_decided_alike_and_not_remembered():
    by = snapshot()
    path = "/public/admin/" + "x" * 8000
    assert ask(path, by=by).reason is Reason.NO_CREDENTIAL
    assert ask(path, bearer(ADMIN), by=by).allowed
    assert by.find.cache_info().currsize == 0


def test_a_client_that_invents_paths_makes_it_remember_no_more_than_a_bound():
    by = snapshot()
    for number in range(5000):
        by.find("gateway.test", f"/public/{number}", "GET")
    assert by.find.cache_info().currsize == 4096


def tables() -> int:
    return sum(type(one) is RouteTable for one in gc.get_objects())


def test_a_replaced_policy_leaves_memory_at_once():
    # The first of a process is frozen: a cycle through it would never be collected.
    by = snapshot(route("public"))
    assert ask("/public", by=by).allowed
    gc.collect()
    gc.disable()
    try:
        before = tables()
        del by
        assert tables() == before - 1
    finally:
        gc.enable()


def test_without_a_policy_nobody_comes_in():
    facts = RequestFacts("GET", "http", parse_authority(b"a"), "/public", b"", "", "", Headers())
    decision = decided(facts, None)
    assert (decision.allowed, decision.reason) == (False, Reason.NO_POLICY)


def test_an_empty_policy_lets_nobody_in():
    assert ask("/public", by=make_snapshot()).reason is Reason.NO_ROUTE


@pytest.mark.parametrize(("method", "allowed"), [("GET", True), ("HEAD", True), ("POST", False), ("OPTIONS", False)])
def test_a_route_for_get_also_serves_head_and_nothing_else(method, allowed):
    assert ask("/read", method=method).allowed is allowed


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("/public", (), Reason.UPGRADE_NOT_SUPPORTED),
        ("/members", (bearer(ALICE),), Reason.UPGRADE_NOT_SUPPORTED),
        ("/members", (), Reason.NO_CREDENTIAL),
    ],
)
def test_another_protocol_is_refused_to_whoever_may_come_in(path, headers, reason):
    decision = decided(replace_fields(facts_of(path, *headers), wants_upgrade=True), snapshot())
    assert (decision.allowed, decision.reason) == (False, reason)


@pytest.mark.parametrize(("paths", "reason"), [("as_sent", Reason.PUBLIC), ("canonical", Reason.BAD_TARGET)])
def test_a_path_that_was_read_as_sent_is_for_a_route_that_takes_such(paths, reason):
    by = snapshot(route("git", host="git.test", path="/", paths=paths))
    facts = replace_fields(facts_of("/a%2Fb"), authority=parse_authority(b"git.test"), as_sent=True)
    assert decided(facts, by).reason is reason


def test_a_path_that_was_read_as_sent_is_for_no_host_without_a_route():
    assert decided(replace_fields(facts_of("/elsewhere"), as_sent=True), snapshot()).reason is Reason.BAD_TARGET


def test_a_revoked_token_is_refused():
    assert ask("/members", bearer(ALICE), by=snapshot(revoked=("t-1",))).reason is Reason.TOKEN_REVOKED


def test_the_missing_roles_are_named():
    assert ask("/public/admin", bearer(ALICE)).missing_roles == ("admin",)


@pytest.mark.parametrize("path", ["/public/a%20b", "/public/what%3F", "/public/x.", "/public/ABC", "/public/a@b"])
def test_a_path_whose_readings_all_belong_to_one_route_passes(path):
    assert ask(path).allowed


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_site_cannot_use_the_cookie(method):
    decision = ask("/members", session(ALICE), CROSS, method=method)
    assert (decision.allowed, decision.reason, decision.identity) == (False, Reason.CROSS_SITE, None)


def test_another_site_is_nobody_on_a_public_route():
    decision = ask("/public", session(ALICE), CROSS, method="POST")
    assert (decision.allowed, decision.identity) == (True, None)


def test_another_site_may_read_and_may_use_a_bearer_token():
    assert ask("/members", session(ALICE), CROSS).allowed
    assert ask("/members", bearer(ALICE), CROSS, method="POST").allowed


# --- limits ----------------------------------------------------------------------------------------------


def limited(per: str, *names: str, **trust) -> Snapshot:
    """Two requests at once for each; the name of the limit is new, since counts outlive a test."""
    limit = f"l{uuid.uuid4().hex}"
    routes = [route(name, access="authenticated", rate_limit=limit) for name in names or ("a",)]
    return snapshot(*routes, limits={limit: RateLimit(rate="1/h", burst=2, per=per)}, **trust)


def reasons(by: Snapshot, *asked: dict) -> list[str]:
    answers = [
        ask(one.get("path", "/a"), *one.get("headers", ()), by=by, client=one.get("client", "::1")) for one in asked
    ]
    return [decision.reason.value for decision in answers]


def test_a_client_over_its_limit_is_told_when_to_come_back():
    by = limited("client")
    assert reasons(by, {}, {}) == ["no_credential"] * 2
    decision = ask("/a", by=by, client="::1")
    assert (decision.allowed, decision.reason) == (False, Reason.RATE_LIMITED)
    assert 3500 < decision.retry_after <= 3600


def test_whoever_has_to_wait_for_less_than_a_second_is_told_one():
    by = snapshot(route("a", rate_limit="limit"), limits={"limit": RateLimit(rate="2/s", burst=1, per="client")})
    refused = next(one for one in (ask("/a", by=by, client="::1") for _ in range(9)) if not one.allowed)
    assert refused.retry_after == 1


def test_guessing_tokens_is_limited_too():
    guess = {"headers": (bearer(b"x.y.z"),)}
    assert reasons(limited("client"), guess, guess, guess) == ["invalid_token", "invalid_token", "rate_limited"]


def test_clients_are_counted_apart_and_an_ipv6_network_as_one():
    by = limited("client")
    asked = [
        {"client": client} for client in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1")
    ]
    assert reasons(by, *asked) == ["no_credential"] * 2 + ["rate_limited"] + ["no_credential"] * 2


def test_subjects_are_counted_apart_whatever_their_address():
    alice, bob = {"headers": (bearer(ALICE),)}, {"headers": (bearer(ADMIN),)}
    assert reasons(limited("subject"), alice, {**alice, "client": "192.0.2.7"}, alice, bob) == [
        "authenticated", "authenticated", "rate_limited", "authenticated",
    ]  # fmt: skip


def test_strangers_at_a_limit_per_subject_are_counted_by_address():
    other = {"client": "192.0.2.7"}
    assert reasons(limited("subject"), {}, {}, {}, other) == ["no_credential"] * 2 + ["rate_limited", "no_credential"]


GUESSES = {
    "malformed": (b"authorization", b"Bearer"),
    "no token": bearer(b"x.y.z"),
    "wrongly signed": bearer(ALICE[:-8] + b"AAAAAAAA"),
    "by an unknown key": bearer(sign_token(header={"kid": "unknown"})),
    "a cookie that is none": session(b"x.y.z"),
}


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES)
def test_guessing_tokens_is_limited_where_subjects_are_counted(guess):
    """And a right guess is no use then. Others, and whoever has guessed elsewhere, notice nothing."""
    asked = {"headers": (guess,)}
    by = limited("subject")
    assert "rate_limited" not in reasons(by, asked, asked)
    assert reasons(by, asked, {"headers": (bearer(ALICE),)}) == ["rate_limited"] * 2
    assert reasons(by, {"headers": (bearer(ALICE),), "client": "192.0.2.7"}) == ["authenticated"]
    assert reasons(limited("subject"), {"headers": (bearer(ADMIN),)}) == ["authenticated"]


def test_a_client_that_guesses_may_try_again_when_its_time_has_come(monkeypatch):
    asked, known = {"headers": (bearer(b"x.y.z"),)}, {"headers": (bearer(ALICE),)}
    by = limited("subject")
    assert reasons(by, asked, asked, asked, known)[-1] == "rate_limited"
    now = time.monotonic()
    monkeypatch.setattr("authgate.ratelimit.guesses.time", SimpleNamespace(monotonic=lambda: now + 3601))
    assert reasons(by, known) == ["authenticated"]


def test_credentials_that_were_good_once_are_no_guesses():
    """One forgotten script does not shut out those who share its address."""
    revoked = sign_token(claims={"jti": "gone"})
    asked = [{"headers": (bearer(token),)} for token in (EXPIRED, revoked) for _ in range(5)]
    seen = reasons(limited("subject", revoked=("gone",)), *asked, {"headers": (bearer(ALICE),)})
    assert seen == ["token_expired"] * 5 + ["token_revoked"] * 5 + ["authenticated"]


def test_a_good_credential_is_one_to_the_subject_and_none_to_guesses():
    known, guess = {"headers": (bearer(ALICE),)}, {"headers": (bearer(b"x.y.z"),)}
    assert reasons(limited("subject"), known, known, guess, guess) == ["authenticated"] * 2 + ["invalid_token"] * 2


def test_clients_that_guess_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(guesses, "_over", Bounded(5))
    by = limited("subject")
    for number in range(20):
        reasons(by, *[{"headers": (bearer(b"x.y.z"),), "client": f"192.0.2.{number}"}] * 3)
    assert len(guesses._over) <= 5


def test_a_route_is_counted_for_all_its_callers():
    by = limited("route", "a", "b")
    asked = [{"client": f"192.0.2.{number}"} for number in range(3)]
    assert reasons(by, *asked, {"path": "/b"}) == ["no_credential"] * 2 + ["rate_limited", "no_credential"]


def test_a_limited_request_is_never_authenticated():
    by = limited("client")
    known = {"headers": (bearer(ALICE),)}
    assert reasons(by, known, known, known)[-1] == "rate_limited"
    assert ask("/a", bearer(ALICE), by=by, client="::1").identity is None


@pytest.mark.parametrize("per", ["client", "route", "subject"])
def test_another_credential_of_the_same_request_takes_nothing_more_of_a_limit(per):
    # Limits live as long as the process: a name and a subject of their own.
    name, token = f"once-{uuid.uuid4()}", sign_token(claims={"sub": str(uuid.uuid4())})
    by = snapshot(route("one", rate_limit=name), limits={name: RateLimit(rate="1/h", burst=1, per=per)})
    facts = facts_of("/one", bearer(token))
    first = decided(facts, by)
    assert (first.allowed, run_here(decide(facts, by, first)).allowed) == (True, True)
    refused = decided(facts, by)
    assert refused.reason == "rate_limited"
    assert run_here(decide(facts, by, refused)) is refused
    # By a policy that was loaded since, it counts anew.
    other = snapshot(route("one", rate_limit=name), limits={name: RateLimit(rate="1/h", burst=1, per=per)})
    assert run_here(decide(facts, other, first)).reason == "rate_limited"
