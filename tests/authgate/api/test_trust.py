"""Trust over REST: providers, people, sessions and keys."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.authgate.admin.test_access import cookie_of
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.rest import Rest, account, robot, with_api

PROVIDER = {"issuer": "https://idp.example.com", "client_id": "gateway", "client_secret": "the secret of tests"}


@pytest.fixture(scope="module")
def api_gateway(gateway_template, session_upstream, tmp_path_factory):
    grant = "grants:\n  - {role: robot, when: {claim: sub, equals: service|granted}}"
    policy = with_api(demo_policy(session_upstream.target)).replace("grants:", grant, 1)
    with Gateway(tmp_path_factory.mktemp("trust") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def root(api_gateway) -> Rest:
    return account(api_gateway, "root", is_superuser=True)


def test_a_provider_is_registered_changed_and_removed_and_its_secret_never_shown(root):
    made = root.put("/providers/corp", PROVIDER)
    assert (made.status, made.body["redirect_uri"]) == (201, f"{root.gateway.url}/auth/callback/corp")
    assert "the secret" not in str(made.body)
    changed = root.put("/providers/corp", {**PROVIDER, "client_secret": "", "name": "Corp"}, if_match=made.etag)
    assert (changed.status, changed.body["public_client"], changed.body["name"]) == (200, False, "Corp")
    assert root.put("/providers/corp", PROVIDER, if_match=made.etag).status == 412
    assert [row["slug"] for row in root.get("/providers?q=corp&enabled=1").body["results"]] == ["corp"]
    test = root.post("/providers/corp/test")
    assert (test.status, test.body["ok"]) == (200, False)
    assert root.delete("/providers/corp").status == 204
    assert root.get("/providers/corp").status == 404


def test_how_many_redirect_uris_a_provider_has_stays_as_it_is_unless_it_is_sent(root):
    made = root.put("/providers/many", {**PROVIDER, "callbacks": "each"})
    assert made.body["callbacks"] == "each"
    assert f"{root.gateway.url}/auth/callback/many" in made.body["redirect_uris"]
    assert root.put("/providers/many", PROVIDER).body["callbacks"] == "each"
    changed = root.put("/providers/many", {**PROVIDER, "callbacks": "public"})
    assert changed.body["redirect_uris"] == [f"{root.gateway.url}/auth/callback/many"]
    assert root.delete("/providers/many").status == 204


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"callbacks": "some"}, {"callbacks"}),
        ({"issuer": "ftp://x"}, {"issuer"}),
        ({"client_secret": ""}, {"client_secret"}),
        ({"public_client": True}, {"client_secret"}),
        ({"session_idle": 1}, {"session_idle"}),
        ({"claim_mapping": {"x": "y"}}, {"claim_mapping"}),
        ({"scopes": "openid"}, {"scopes"}),
        ({"sealed_client_secret": "x"}, {"sealed_client_secret"}),
    ],
)
def test_an_error_names_the_field(root, changes, fields):
    refused = root.put("/providers/other", {**PROVIDER, **changes})
    assert (refused.status, set(refused.fields)) == (422, fields)
    assert root.get("/providers/other").status == 404


ISSUER = {"issuer": "https://idp.test.invalid", "audiences": ["https://api.example.com"]}
KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def test_an_issuer_is_added_changed_tested_and_removed_and_its_secret_never_shown(root):
    secret = {"strategy": "auto", "client_id": "gateway", "client_secret": "the secret of tests"}
    made = root.put("/issuers/build", {**ISSUER, **secret})
    assert (made.status, made.body["has_client_secret"]) == (201, True)
    assert "the secret" not in str(made.body)
    changed = root.put("/issuers/build", {**ISSUER, "enabled": False}, if_match=made.etag)
    assert (changed.status, changed.body["enabled"], changed.body["has_client_secret"]) == (200, False, True)
    assert root.put("/issuers/build", ISSUER, if_match=made.etag).status == 412
    assert root.get("/issuers?enabled=0").body["count"] == 1
    assert root.post("/issuers/build/test", {"token": "x"}).body["ok"] is False
    assert robot(root.gateway).put("/issuers/build", ISSUER).status == 403
    assert root.delete("/issuers/build").status == 204


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"audiences": []}, {"audiences"}),
        ({"algorithms": ["HS256"]}, {"algorithms"}),
        ({"pasted_keys": KEYS}, {"pasted_keys"}),
        ({"required_claims": {"a": [1]}}, {"required_claims.a"}),
        ({"leeway": 301}, {"leeway"}),
        ({"strategy": "introspection"}, {"client_id", "client_authentication"}),
        ({"audience": "x"}, {"audience"}),
    ],
)
def test_an_error_of_an_issuer_names_the_field(root, changes, fields):
    refused = root.put("/issuers/other", {**ISSUER, **changes})
    assert (refused.status, set(refused.fields)) == (422, fields)


@pytest.mark.parametrize(("path", "body"), [("/providers/polled", PROVIDER), ("/issuers/polled", ISSUER)])
def test_a_transmitter_of_events_is_polled_and_its_token_never_shown(root, path, body):
    polled = {"poll_endpoint": "https://idp.example.com/events", "poll_token": "token-of-tests"}
    made = root.put(path, {**body, **polled})
    assert (made.status, made.body["poll_endpoint"]) == (201, polled["poll_endpoint"])
    kept = root.put(path, {**body, "poll_endpoint": polled["poll_endpoint"]})
    assert [made.body["has_poll_token"], kept.body["has_poll_token"]] == [True, True]
    assert "token-of-tests" not in str([made, kept])
    without = root.put(path, body)
    assert (without.body["poll_endpoint"], without.body["has_poll_token"]) == ("", False)
    assert root.put(path, {**body, "poll_token": "x"}).fields == ["poll_token"]
    assert root.put(path, {**body, "poll_endpoint": "http://idp.example.com/"}).fields == ["poll_endpoint"]
    assert root.delete(path).status == 204


def test_a_token_registers_no_provider_and_lets_nobody_in_again(root):
    rest = robot(root.gateway)
    assert rest.put("/providers/mine", PROVIDER).status == 403
    cookie_of(root.gateway, "sid-mallory", "mallory")
    person = next(row for row in rest.get("/people?q=mallory").body["results"])
    kept_out = rest.ask("PATCH", f"/people/{person['id']}", {"is_active": False})
    assert (kept_out.status, kept_out.body["is_active"]) == (200, False)
    assert rest.get("/sessions/sid-mallory").body["end_reason"] == "person deactivated"
    assert rest.ask("PATCH", f"/people/{person['id']}", {"is_active": True}).status == 403
    assert rest.delete(f"/people/{person['id']}").status == 409
    assert root.ask("PATCH", f"/people/{person['id']}", {"is_active": True}).status == 200
    assert rest.delete(f"/people/{person['id']}").status == 204


def test_a_session_that_is_ended_is_refused_by_the_next_request(root):
    cookie = cookie_of(root.gateway, "sid-alice", "alice")
    headers = [("cookie", f"auth_token={cookie}")]
    assert root.gateway.get("/auth/me", headers=headers).status == 200
    rest = robot(root.gateway)
    assert rest.get("/sessions/sid-alice").body["subject"] == "idp|alice"
    assert "sid-alice" in [row["sid"] for row in rest.get("/sessions?state=live&provider=idp").body["results"]]
    assert rest.delete("/sessions/sid-alice").status == 204
    assert root.gateway.get("/auth/me", headers=headers).status == 401
    assert "sid-alice" in [row["sid"] for row in rest.get("/sessions?state=ended").body["results"]]


def test_all_sessions_of_a_person_end_together(root):
    for number in range(3):
        cookie_of(root.gateway, f"sid-bob-{number}", "bob")
    rest = robot(root.gateway)
    person = rest.get("/people?q=bob").body["results"][0]["id"]
    assert rest.get(f"/sessions?person={person}&state=live").body["count"] == 3
    assert rest.post(f"/people/{person}/end-sessions").body == {"ended": 3}
    assert rest.get(f"/sessions?person={person}&state=live").body["count"] == 0


def test_a_key_is_made_and_retired(root):
    rest = robot(root.gateway)
    made = rest.post("/keys", {"purpose": "assertions", "algorithm": "ES256"})
    kid = made.body["kid"]
    assert (made.status, made.headers["location"]) == (201, f"/auth/api/v1/keys/{kid}")
    assert next(row["kid"] for row in rest.get("/keys?purpose=assertions&retired=0").body["results"]) == kid
    retired = rest.post(f"/keys/{kid}/retire").body
    assert retired["retired_at"]
    assert rest.post(f"/keys/{kid}/retire").body == retired
    assert rest.post("/keys", {"purpose": "x", "algorithm": "ES256"}).fields == ["purpose"]
    assert "private" not in str(retired)


def test_a_service_token_is_made_shown_once_used_and_ended(root):
    rest = robot(root.gateway)
    made = rest.post("/service-tokens", {"name": "backup", "days": 30, "owner": "ops"})
    token = {"authorization": f"Bearer {made.body['token']}"}
    number = made.body["id"]
    assert (made.status, made.headers["location"]) == (201, f"/auth/api/v1/service-tokens/{number}")
    assert made.headers["cache-control"] == "no-store"
    caller = root.gateway.get("/auth/me", headers=list(token.items()))
    assert (caller.status, caller.json()["subject"]) == (200, "service|backup")
    shown = rest.get(f"/service-tokens/{number}")
    assert shown.body == {name: value for name, value in made.body.items() if name != "token"}
    assert (shown.etag, shown.body["created_by"], shown.body["jti"]) == (made.etag, "token:ci", f"svc:{number}")
    found = rest.get("/service-tokens?q=back&state=live&kind=service").body["results"]
    assert (found, made.body["token"] in str(found)) == ([shown.body], False)
    assert rest.delete(f"/service-tokens/{number}", if_match='"another"').status == 412
    assert rest.delete(f"/service-tokens/{number}", if_match=made.etag).status == 204
    assert root.gateway.get("/auth/me", headers=list(token.items())).status == 401
    assert [row["end_reason"] for row in rest.get("/service-tokens?state=over&q=backup").body["results"]] == ["revoked"]
    assert rest.get("/service-tokens?kind=personal").body["count"] == 0
    assert rest.get("/service-tokens/987654321").status == 404


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ({}, ["name"]),
        ({"name": "a b"}, ["name"]),
        ({"name": "new", "days": 0}, ["days"]),
        ({"name": "new", "days": 10**18}, ["days"]),
        ({"name": "new", "roles": ["nobody"]}, ["roles"]),
        ({"name": "new", "routes": ["nowhere"]}, ["routes"]),
        ({"name": "new", "networks": ["10.0.0.0/99"]}, ["networks"]),
        ({"name": "new", "token": "mine"}, ["token"]),
        (
            {"name": "a b", "days": 0, "roles": ["nobody"], "routes": ["nowhere"], "networks": ["10.0.0.0/99"]},
            ["days", "name", "networks", "roles", "routes"],
        ),
    ],
)
def test_an_error_of_a_service_token_names_the_field(root, sent, fields):
    refused = root.post("/service-tokens", sent)
    assert (refused.status, sorted(refused.fields)) == (422, fields)


def test_a_role_with_power_is_given_to_a_service_token_by_a_superuser_alone(root):
    wanted = {"name": "deploy", "roles": ["robot"]}
    refused = robot(root.gateway).post("/service-tokens", wanted)
    assert (refused.status, refused.body["detail"]) == (403, "A superuser is needed for that. Nothing was changed.")
    made = root.post("/service-tokens", wanted)
    rest = Rest(root.gateway, made.body["token"])
    assert rest.get("/limits").status == 200
    assert root.delete(f"/service-tokens/{made.body['id']}").status == 204
    assert rest.get("/limits").status == 401


def test_a_name_to_which_the_policy_gives_power_is_taken_by_a_superuser_alone(root):
    """Somebody who may make tokens and nothing else would have all that staff may."""
    maker = account(root.gateway, "maker", "add_servicetoken", "view_servicetoken")
    wanted = {"name": "granted"}
    assert maker.get("/keys").status == 403
    assert maker.post("/service-tokens", wanted).status == 403
    assert robot(root.gateway).post("/service-tokens", wanted).status == 403
    made = root.post("/service-tokens", wanted)
    assert Rest(root.gateway, made.body["token"]).get("/keys").status == 200
    assert maker.post("/service-tokens", {"name": "plain"}).status == 201


def test_a_token_is_revoked_by_its_id(root):
    rest = robot(root.gateway)
    made = rest.post("/service-tokens", {"name": "lost"}).body
    revoked = rest.post("/revoked-tokens", {"jti": made["jti"], "reason": "left in a train"})
    assert (revoked.status, revoked.body["reason"]) == (201, "left in a train")
    header = [("authorization", f"Bearer {made['token']}")]
    assert root.gateway.get("/auth/me", headers=header).status == 401
    assert rest.post("/revoked-tokens", {"jti": made["jti"]}).body == revoked.body
    assert rest.get(f"/service-tokens/{made['id']}").body["end_reason"] == "revoked"
    assert rest.post("/service-tokens", {"name": "lost"}).status == 201
    assert rest.get(f"/revoked-tokens?q={made['jti']}").body["results"] == [revoked.body]
    assert rest.post("/revoked-tokens", {"jti": ""}).fields == ["jti"]


def test_a_service_token_ends_with_all_of_its_subject(root):
    rest = robot(root.gateway)
    made = {name: rest.post("/service-tokens", {"name": name}).body["id"] for name in ("mine", "other")}
    assert rest.post("/revocations", {"subject": "service|mine"}).status == 200
    assert rest.get(f"/service-tokens/{made['mine']}").body["end_reason"] == "revoked"
    assert rest.get(f"/service-tokens/{made['other']}").body["ended_at"] is None


def test_a_service_token_in_a_password_opens_nothing(root):
    """A browser sends a password by itself, and there is no token against forged requests here."""
    token = root.post("/service-tokens", {"name": "typed", "roles": ["robot"]}).body["token"]
    basic = b64encode(f"x:{token}".encode()).decode()
    assert Rest(root.gateway, token).get("/limits").status == 200
    refused = Rest(root.gateway, headers={"authorization": f"Basic {basic}"}).get("/limits")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="authgate"')


def test_whatever_a_subject_has_is_revoked_and_their_sessions_end(root):
    cookie = cookie_of(root.gateway, "sid-carol", "carol")
    rest = robot(root.gateway)
    assert rest.post("/revocations", {"subject": "idp|carol"}).body == {"sessions_ended": 1}
    assert root.gateway.get("/auth/me", headers=[("cookie", f"auth_token={cookie}")]).status == 401
    [row] = rest.get("/revocations?q=CAROL").body["results"]
    assert (row["subject"], row["issuer"], row["reason"]) == ("idp|carol", "", "revoked over REST")


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        ({}, ["subject"]),
        ({"subject": "idp|carol", "issuer": "gateway"}, ["subject"]),
        ({"issuer": "nobody"}, ["issuer"]),
    ],
)
def test_a_revocation_is_of_a_subject_or_of_an_issuer_that_is_known(root, sent, fields):
    refused = root.post("/revocations", sent)
    assert (refused.status, refused.fields) == (422, fields)


def test_all_that_an_issuer_has_issued_is_revoked_by_a_superuser_alone(root):
    assert root.put("/issuers/farm", {**ISSUER, "issuer": "https://farm.test.invalid"}).status == 201
    assert robot(root.gateway).post("/revocations", {"issuer": "farm"}).status == 403
    assert root.post("/revocations", {"issuer": "farm"}).body == {"sessions_ended": 0}
