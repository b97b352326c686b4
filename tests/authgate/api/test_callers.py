"""Who may call the API, from where, and what each kind of caller may do there."""

from __future__ import annotations

import subprocess

import pytest

from tests.authgate.admin.test_access import cookie_of
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.rest import CSRF, Rest, account, robot, with_api

LIMIT = {"rate": "1/s"}


@pytest.fixture(scope="module")
def api_gateway(gateway_template, session_upstream, tmp_path_factory):
    policy = with_api(demo_policy(session_upstream.target)).replace(
        "grants:", "grants:\n  - {role: boss, when: {claim: groups, contains: bosses}}"
    )
    policy += "  - {name: elsewhere, host: service.test, path: /, access: public, upstream: api}\n"
    with Gateway(tmp_path_factory.mktemp("callers") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


def test_without_a_credential_nothing_is_shown_or_changed(api_gateway):
    nobody = Rest(api_gateway)
    for reply in (nobody.get("/policy"), nobody.put("/limits/new", LIMIT), nobody.get("/people")):
        assert (reply.status, reply.headers["content-type"]) == (401, "application/problem+json")
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("role", ["user", "admin", "boss"])
def test_a_token_with_another_role_opens_nothing(api_gateway, role):
    refused = Rest(api_gateway, api_gateway.mint("alice", roles=(role,))).get("/policy")
    assert refused.status == 403


def test_a_bad_token_is_refused_although_a_cookie_is_good(api_gateway):
    operator = account(api_gateway, "root", is_superuser=True)
    assert operator.get("/policy", authorization="Bearer nonsense").status == 401
    assert operator.get("/policy", authorization="Basic eDp5").status == 401
    assert operator.get("/policy").status == 200


def test_a_token_that_is_the_session_cookie_opens_nothing(api_gateway):
    token = api_gateway.mint("ci", roles=("robot",))
    assert Rest(api_gateway, headers={"cookie": f"auth_token={token}"}).get("/policy").status in (401, 403)


def test_a_role_that_opens_the_api_does_not_open_the_admin(api_gateway):
    token = api_gateway.mint("ci", roles=("robot",))
    assert api_gateway.get("/admin/", token=token).status == 302
    cookie = cookie_of(api_gateway, "sid-robot", "rob", groups=[], roles=["robot"])
    assert api_gateway.get("/admin/", headers=[("cookie", f"auth_token={cookie}")]).status == 302
    assert Rest(api_gateway, headers={"cookie": f"auth_token={cookie}"}).get("/policy").status == 403


def test_an_operator_by_role_needs_the_csrf_token_to_change_something(api_gateway):
    cookie = cookie_of(api_gateway, "sid-boss", "bea", groups=["bosses"])
    boss = Rest(api_gateway, headers={"cookie": f"auth_token={cookie}; authgate_csrf={CSRF}"})
    assert boss.get("/policy").status == 200
    assert boss.put("/limits/new", LIMIT).status == 403
    assert boss.put("/limits/new", LIMIT, x_csrftoken="d" * 32).status == 403
    assert boss.put("/limits/new", LIMIT, x_csrftoken=CSRF).status == 201
    newest = boss.get("/revisions?limit=1").body["results"][0]
    assert newest["author"] == "sso:idp|bea"
    assert boss.delete("/limits/new", x_csrftoken=CSRF).status == 204


@pytest.mark.parametrize("header", [{"sec_fetch_site": "cross-site"}, {"origin": "https://evil.example.com"}])
def test_another_site_changes_nothing_with_an_operators_cookies(api_gateway, header):
    operator = account(api_gateway, "root", is_superuser=True)
    assert operator.put("/limits/new", LIMIT, **header).status == 403
    assert robot(api_gateway).put("/limits/new?dry_run=1", LIMIT, **header).status == 200


def test_staff_by_an_account_does_what_it_is_permitted_in_the_admin(api_gateway):
    staff = account(api_gateway, "stella", "view_route", "change_ratelimit", "add_ratelimit")
    assert staff.get("/routes").status == 200
    assert staff.get("/upstreams").status == 403
    assert staff.get("/policy").status == 403
    assert staff.put("/limits/hers", LIMIT).status == 201
    assert staff.delete("/limits/hers").status == 403
    assert staff.put("/upstreams/new", {"targets": ["http://127.0.0.1:9"]}).status == 403
    assert staff.put("/policy", {"version": 1}).status == 403
    assert staff.post("/revisions/1/rollback").status == 403
    assert staff.get("/sessions").status == 403
    assert robot(api_gateway).delete("/limits/hers").status == 204


def test_only_the_public_host_has_the_api(api_gateway):
    token = f"Bearer {api_gateway.mint('ci', roles=('robot',))}"
    for host, status in (("localhost", 200), ("service.test", 404), ("127.0.0.1", 404)):
        for path in ("/auth/api/v1/policy", "/auth/api/schema", "/auth/api/docs"):
            reply = api_gateway.request(path, headers=[("authorization", token)], host=f"{host}:{api_gateway.port}")
            assert reply.status == status, (host, path)


def test_a_revoked_token_is_refused_at_once(api_gateway):
    rest = Rest(api_gateway, api_gateway.mint("lost", roles=("robot",), fresh=True))
    assert rest.get("/keys").status == 200
    api_gateway.shell.run(
        "from authgate.authn.compact import read_compact, read_object\n"
        "from authgate.policy.powers import Machine\n"
        "from authgate.state import revocation\n"
        f"claims = read_object(read_compact(b'{rest.token}').unverified_payload)\n"
        "revocation.revoke(claims['jti'], '', Machine('test'))"
    )
    assert rest.get("/keys").status == 401


def test_what_is_nothing_is_a_problem_too(api_gateway):
    rest = robot(api_gateway)
    for path in ("/nothing", "/routes/nothing", "/routes/a/b", "/"):
        reply = rest.get(path)
        assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json"), path
    assert rest.post("/routes/x").status == 405


def test_a_body_is_bounded(api_gateway):
    big = {"version": 1, "roles": {"a": {"description": "x" * 100_000}}}
    assert robot(api_gateway).put("/policy", big).status == 422
    huge = {"version": 1, "roles": {"a": {"description": "x" * 3_000_000}}}
    assert robot(api_gateway).put("/policy", huge).status == 413
    assert Rest(api_gateway).put("/policy", big).status == 413


def test_a_token_that_a_key_of_a_file_has_signed_changes_things(start_gateway, upstream, tmp_path):
    file = tmp_path / "key.pem"
    command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    file.chmod(0o600)
    env = {"AUTHGATE_SIGNING_KEY_FILE": str(file)}
    gateway = start_gateway(policy=with_api(demo_policy(upstream.target)), env=env)
    robot_of_file = Rest(gateway, gateway.mint("ci", roles=("robot",)))
    assert robot_of_file.put("/limits/new", LIMIT).status == 201
