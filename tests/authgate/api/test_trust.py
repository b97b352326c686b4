"""Trust over REST: providers, people, sessions and keys."""

from __future__ import annotations

import pytest

from tests.authgate.admin.test_access import cookie_of
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.rest import Rest, account, robot, with_api

PROVIDER = {"issuer": "https://idp.example.com", "client_id": "gateway", "client_secret": "the secret of tests"}


@pytest.fixture(scope="module")
def api_gateway(gateway_template, session_upstream, tmp_path_factory):
    policy = with_api(demo_policy(session_upstream.target))
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


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
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
        ({"required_claims": {"a": [1]}}, {"required_claims"}),
        ({"leeway": 301}, {"leeway"}),
        ({"strategy": "introspection"}, {"client_id", "client_authentication"}),
        ({"audience": "x"}, {"audience"}),
    ],
)
def test_an_error_of_an_issuer_names_the_field(root, changes, fields):
    refused = root.put("/issuers/other", {**ISSUER, **changes})
    assert (refused.status, set(refused.fields)) == (422, fields)


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
