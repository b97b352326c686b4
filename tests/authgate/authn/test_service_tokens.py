"""Service tokens as a running gateway of two workers meets them."""

from __future__ import annotations

import base64
import json
import re
import time
from zlib import crc32

import pytest

from authgate.authn.service_tokens import has_checksum, may_be_service_token, new_token, read_basic
from tests.support.gateway import Gateway

POLICY = """\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
roles: {{reader: {{}}, writer: {{}}, everybody: {{}}}}
grants: [{{role: everybody, when: {{authenticated: true}}}}]
routes:
  - {{name: open, path: /open, access: public, upstream: api}}
  - {{name: any, path: /any, access: authenticated, upstream: api}}
  - {{name: git, path: /git, access: roles, roles: [reader], basic: true, upstream: api}}
  - {{name: tools, path: /tools, access: authenticated, mcp: true, basic: true, upstream: api}}
  - {{name: own, path: /own, access: roles, roles: [everybody], issuers: [gateway], upstream: api}}
  - {{name: scoped, path: /scoped, access: authenticated, scopes: [read], upstream: api}}
  - {{name: passing, path: /passing, access: authenticated, pass_authorization: true, upstream: api}}
"""
TIMES = 8  # connections, of which each worker takes some


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("service-tokens") / "data"
    policy = POLICY.format(target=session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as gateway:
        yield gateway.start()


def create(gateway: Gateway, name: str, *options: str) -> str:
    return gateway.shell.command("service_token", "create", name, *options, "--quiet").strip()


def basic(password: str | bytes, user: str = "__token__") -> list[tuple[str, str]]:
    secret = password if isinstance(password, bytes) else password.encode()
    return [("Authorization", f"Basic {base64.b64encode(user.encode() + b':' + secret).decode()}")]


def answers(gateway: Gateway, path: str, token: str | None = None, **request: object) -> set[tuple[int, str]]:
    seen = [gateway.request(path, token=token, **request) for _ in range(TIMES)]
    return {(answer.status, answer.json()["reason"] if answer.status >= 400 else "") for answer in seen}


@pytest.fixture(scope="module")
def token(gateway) -> str:
    return create(gateway, "ci", "--role", "reader")


# --- what it looks like --------------------------------------------------------------------------------------


def test_a_token_has_the_form_that_secret_scanners_find():
    token = new_token()
    assert re.fullmatch(r"agt_[0-9A-Za-z]{40}[0-9A-Za-z]{6}", token)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    checksum = 0
    for digit in token[-6:]:
        checksum = checksum * 62 + digits.index(digit)
    assert checksum == crc32(token[4:44].encode())
    assert has_checksum(token.encode())


def test_no_two_tokens_are_alike():
    assert len({new_token() for _ in range(100)}) == 100


TOKEN = new_token().encode()
PASSWORD = base64.b64encode(b"u:" + TOKEN)
BASICS = {
    "plain": (b"Basic " + PASSWORD, True),
    "scheme in other case": (b"bAsIc " + PASSWORD, True),
    "spaces around": (b"Basic   " + PASSWORD + b"  ", True),
    "no user": (b"Basic " + base64.b64encode(b":" + TOKEN), True),
    "as long as may be": (b"Basic " + base64.b64encode(b"u" * (4096 // 4 * 3 - 51) + b":" + TOKEN), True),
    "too long": (b"Basic " + base64.b64encode(b"u" * (4096 // 4 * 3 - 48) + b":" + TOKEN), False),
    "another scheme": (b"Bearer " + PASSWORD, False),
    "no space": (b"Basic" + PASSWORD, False),
    "a tab": (b"Basic \t" + PASSWORD, False),
    "a stray character": (b"Basic !" + PASSWORD, False),
    "no colon": (b"Basic " + base64.b64encode(TOKEN), False),
    "two colons": (b"Basic " + base64.b64encode(b"u:x:" + TOKEN), False),
    "a letter less": (b"Basic " + base64.b64encode(b"u:" + TOKEN[:-1]), False),
    "nothing": (b"Basic", False),
}


@pytest.mark.parametrize(("value", "is_one"), BASICS.values(), ids=BASICS)
def test_the_password_of_basic(value, is_one):
    assert read_basic(value) == (TOKEN if is_one else None)


@pytest.mark.parametrize(
    ("unverified", "is_one"),
    [(b"agt_", True), (b"agt_\xff", True), (TOKEN, True), (b"AGT_x", False), (b" agt_x", False), (b"x.agt_", False)],
    ids=[
        "the prefix",
        "no text",
        "a whole one",
        "upper case",
        "a space before",
        "elsewhere",
    ],  # each worker makes its own
)
def test_what_is_judged_as_one(unverified, is_one):
    assert may_be_service_token(unverified) == is_one


def test_only_the_digest_is_kept(gateway, token):
    assert token.encode() not in b"".join(path.read_bytes() for path in gateway.data_dir.glob("*sqlite3*"))
    assert token not in gateway.output


# --- what it opens -------------------------------------------------------------------------------------------


def test_it_opens_what_its_roles_open(gateway, token):
    assert answers(gateway, "/git", token) == {(200, "")}
    other = create(gateway, "other", "--role", "writer")
    assert answers(gateway, "/git", other) == {(403, "missing_role")}


def test_it_has_the_roles_of_everybody_and_no_scopes(gateway, token):
    assert answers(gateway, "/own", token) == {(200, "")}
    assert answers(gateway, "/scoped", token) == {(403, "insufficient_scope")}


def test_basic_takes_it_as_the_password_whatever_the_user_name(gateway, token):
    for user in ("__token__", "", "jürgen", "x" * 500, "agt_"):
        assert gateway.get("/git", headers=basic(token, user)).status == 200
    assert gateway.get("/git", headers=[("Authorization", basic(token)[0][1].replace("Basic", "bASIC"))]).status == 200


def test_the_service_learns_who_it_is_and_never_the_token(gateway, token, upstream):
    gateway.get("/git", headers=basic(token))
    request = upstream.requests[-1]
    assert request.header("X-Auth-User-ID") == "service|ci"
    assert json.loads(request.header("X-Auth-User-Roles")) == ["everybody", "reader"]
    assert request.all("Authorization") == []


def test_me_and_the_log_name_the_kind_of_credential(gateway, token):
    me = gateway.get("/auth/me", token=token).json()
    assert (me["subject"], me["issuer"], me["credential"]) == ("service|ci", gateway.url, "service_token")
    gateway.get("/git?once", headers=basic(token))
    line = gateway.log_lines(path="/git", wait_for=1, sub="service|ci")[-1]
    assert (line["credential"], line["jti"]) == ("service_token", me["token_id"])
    assert me["token_id"].startswith("svc:")


def test_nobody_opens_the_admin_with_it(gateway, token):
    for headers in (basic(token), [("Authorization", f"Bearer {token}")]):
        assert gateway.get("/admin/", headers=headers).status == 302
        page = gateway.get("/dashboard", headers=[*headers, ("Accept", "text/html")]).text
        assert "<form" not in page


# --- what is not let in --------------------------------------------------------------------------------------


def changed(token: str, place: int, to: str) -> str:
    return token[:place] + to + token[place + 1 :]


def recount(token: str) -> str:
    """With a checksum that fits: nothing of it is secret."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number, text = crc32(token[4:44].encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        text = digits[rest] + text
    return token[:44] + text


BAD = {
    "a letter changed": lambda token: changed(token, 10, "A" if token[10] != "A" else "B"),
    "a letter changed, and the checksum": lambda token: recount(changed(token, 10, "A" if token[10] != "A" else "B")),
    "the checksum changed": lambda token: changed(token, 49, "A" if token[49] != "A" else "B"),
    "the prefix in capitals": lambda token: "AGT_" + token[4:],
    "other case": lambda token: token.swapcase(),
    "truncated": lambda token: token[:-1],
    "nothing but the prefix": lambda token: "agt_",
    "longer": lambda token: token + "0",
    "twice": lambda token: token + token,
    "padded": lambda token: token + "=",
    "unknown": lambda token: new_token(),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_whole_though_it_may_not_be_ours(name):
    is_whole = name in ("a letter changed, and the checksum", "unknown")
    assert has_checksum(BAD[name](TOKEN.decode()).encode()) == is_whole


def test_a_checksum_that_fits_makes_no_longer_text_a_token():
    whole = recount("agt_" + "0" * 46).encode()
    assert has_checksum(whole)
    assert not has_checksum(whole[:4] + whole)
    assert not has_checksum(b"-" + whole)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_token_that_is_not_one_of_ours_is_refused(gateway, token, bad):
    assert gateway.get("/git", token=bad(token)).json()["reason"] == "invalid_token"
    refused = gateway.get("/git", headers=basic(bad(token)))
    is_like_one = bad(token).startswith("agt_")
    assert (refused.status, refused.json()["reason"]) == (401, "invalid_token" if is_like_one else "no_credential")


BAD_HEADERS = {
    "a colon in the password": lambda token: basic(f"x:{token}"),
    "a colon behind it": lambda token: basic(f"{token}:"),
    "a space behind it": lambda token: basic(f"{token} "),
    "unicode": lambda token: basic(f"{token}ü"),
    "as the user name": lambda token: basic("", token),
    "no colon": lambda token: [("Authorization", "Basic " + base64.b64encode(token.encode()).decode())],
    "no base64": lambda token: [("Authorization", f"Basic x:{token}")],
    "base64 with a stray character": lambda token: [("Authorization", f"{basic(token)[0][1]}!")],
    "huge": lambda token: basic(token, "x" * 5000),
    "another scheme": lambda token: [("Authorization", f"Token {token}")],
    "without a scheme": lambda token: [("Authorization", token)],
    "in a cookie": lambda token: [("Cookie", f"auth_token={token}")],
    "in a header of its own": lambda token: [("X-Auth-Token", token), ("Private-Token", token)],
    "twice": lambda token: [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
    "two kinds": lambda token: [*basic(token), ("Authorization", f"Bearer {token}")],
    "in one header": lambda token: [("Authorization", f"Bearer {token}, {basic(token)[0][1]}")],
}  # fmt: skip


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_nowhere_else_does_it_count(gateway, token, headers):
    assert gateway.get("/git", headers=headers(token)).status in (400, 401, 431)


def test_it_never_counts_in_the_query(gateway, token):
    for name in ("access_token", "token", "private_token", "auth_token"):
        assert gateway.get(f"/git?{name}={token}").status == 401


def test_a_bad_password_of_another_kind_is_no_credential_of_ours(gateway):
    assert answers(gateway, "/git", headers=basic("secret")) == {(401, "no_credential")}
    assert answers(gateway, "/open", headers=basic("secret")) == {(200, "")}


def test_a_mistyped_password_is_refused_where_the_route_asks_for_one(gateway, token):
    mistyped = basic(token[:-1])
    assert answers(gateway, "/git", headers=mistyped) == {(401, "invalid_token")}
    assert answers(gateway, "/any", headers=mistyped) == {(401, "no_credential")}
    assert answers(gateway, "/auth/me", headers=mistyped) == {(401, "no_credential")}
    assert gateway.get("/git", headers=mistyped).all("www-authenticate") == [BASIC]
    # No session beside it counts in its place, as with a bearer token.
    session = ("Cookie", f"auth_token={gateway.mint('alice', roles=('reader',))}")
    assert answers(gateway, "/git", headers=[session]) == {(200, "")}
    assert answers(gateway, "/git", headers=[*mistyped, session]) == {(401, "invalid_token")}
    assert answers(gateway, "/any", headers=[*mistyped, session]) == {(200, "")}


# --- where it counts -----------------------------------------------------------------------------------------


def test_networks_and_routes_are_checked_on_each_request(gateway):
    elsewhere = create(gateway, "elsewhere", "--network", "203.0.113.0/24", "--network", "2001:db8::/32")
    here = create(gateway, "here", "--network", "203.0.113.0/24", "--network", "127.0.0.1")
    only = create(gateway, "only", "--route", "any")
    assert answers(gateway, "/any", elsewhere) == {(403, "network_not_allowed")}
    assert answers(gateway, "/auth/me", elsewhere) == {(403, "network_not_allowed")}
    assert answers(gateway, "/any", here) == {(200, "")}
    assert answers(gateway, "/any", only) == {(200, "")}
    assert answers(gateway, "/own", only) == {(403, "route_not_allowed")}
    assert answers(gateway, "/auth/me", only) == {(403, "route_not_allowed")}


def test_where_it_does_not_count_a_public_route_knows_nobody(gateway, upstream):
    elsewhere = create(gateway, "nobody", "--network", "203.0.113.0/24")
    assert gateway.get("/open", token=elsewhere).status == 200
    assert upstream.requests[-1].header("X-Auth-User-ID") == ""


def test_basic_is_sent_by_browsers_themselves_and_so_judged_like_a_cookie(gateway, token):
    cross = [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")]
    assert answers(gateway, "/git", method="POST", headers=[*basic(token), *cross]) == {(403, "cross_site")}
    assert answers(gateway, "/git", headers=[*basic(token), *cross]) == {(200, "")}
    assert answers(gateway, "/git", token, method="POST", headers=cross) == {(200, "")}
    # In this order too: what is remembered of the bearer token is not used for Basic.
    assert answers(gateway, "/git", method="POST", headers=[*basic(token), *cross]) == {(403, "cross_site")}


BEARER, BASIC = 'Bearer realm="authgate"', 'Basic realm="authgate", charset="UTF-8"'


def test_basic_is_offered_where_the_route_says_so(gateway):
    assert BASIC in gateway.get("/git").all("www-authenticate")
    assert gateway.get("/any").all("www-authenticate") == [BEARER]
    assert len(gateway.get("/git", token="agt_x").all("www-authenticate")) == 2


@pytest.mark.parametrize("password", [None, "secret", "agt_x"])
def test_a_client_of_a_container_registry_is_offered_basic_alone(gateway, password):
    """Of two it takes Bearer, and fetches a token from its realm."""
    headers = [] if password is None else basic(password)
    assert gateway.get("/git", headers=headers).all("www-authenticate") == [BASIC]


def test_an_agent_is_led_to_its_authorization_server_where_basic_is_offered_too(gateway):
    bearer, offered = gateway.request("/tools", method="POST").all("www-authenticate")
    assert bearer.startswith(f'{BEARER}, resource_metadata="')
    assert offered == BASIC


def test_where_the_service_has_its_own_tokens_one_of_ours_is_judged(gateway, token, upstream):
    assert gateway.get("/passing", token=token).status == 200
    assert upstream.requests[-1].header("Authorization") == f"Bearer {token}"
    dead = create(gateway, "dead")
    gateway.shell.command("service_token", "revoke", "dead")
    for headers in (basic(dead), [("Authorization", f"Bearer {dead}")]):
        assert gateway.get("/passing", headers=headers).json()["reason"] == "token_revoked"


def test_a_role_for_the_api_opens_it_to_a_service_token(gateway, session_upstream):
    policy = POLICY.format(target=session_upstream.target)
    gateway.import_policy(policy.replace("writer: {}", "writer: {admin: api}"))
    try:
        token = create(gateway, "deploys", "--role", "writer")
        assert gateway.get("/auth/api/v1/routes", token=token).status == 200
        assert gateway.get("/auth/api/v1/routes", headers=basic(token)).status == 401  # a browser sends it by itself
        body, cross = b'{"targets": ["http://127.0.0.1:9"]}', [("Sec-Fetch-Site", "cross-site")]
        kind = ("Content-Type", "application/json")
        request = {"method": "PUT", "body": body}
        assert gateway.request(
            "/auth/api/v1/upstreams/new", headers=[kind, *basic(token), *cross], **request
        ).status in (
            401,
            403,
        )
        assert gateway.request("/auth/api/v1/upstreams/new", headers=[kind], token=token, **request).status == 201
        bound = create(gateway, "bound", "--role", "writer", "--route", "any")
        assert gateway.get("/auth/api/v1/routes", token=bound).status in (401, 403)
        gateway.shell.command("service_token", "revoke", "deploys")
        assert gateway.request("/auth/api/v1/upstreams/new", headers=[kind], token=token, **request).status == 401
    finally:
        gateway.import_policy(policy)


def test_a_subject_that_is_revoked_takes_its_tokens_along(gateway):
    token = create(gateway, "subject")
    gateway.shell.command("revoke", "--subject", "service|subject", "--yes")
    assert answers(gateway, "/any", token) == {(401, "token_revoked")}


# --- its end -------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_refused_at_once_by_every_worker(gateway):
    token = create(gateway, "short")
    assert answers(gateway, "/any", token) == {(200, "")}
    gateway.shell.command("service_token", "revoke", "short")
    assert answers(gateway, "/any", token) == {(401, "token_revoked")}
    assert answers(gateway, "/any", headers=basic(token)) == {(401, "token_revoked")}
    again = create(gateway, "short")
    assert answers(gateway, "/any", again) == {(200, "")}
    assert answers(gateway, "/any", token) == {(401, "token_revoked")}


def test_its_id_can_be_revoked_like_any_other(gateway):
    token = create(gateway, "by-id")
    jti = gateway.get("/auth/me", token=token).json()["token_id"]
    gateway.shell.run(
        "from authgate.state import revocation; from authgate.policy.powers import Machine\n"
        f"revocation.revoke({jti!r}, '', Machine('test'))"
    )
    assert answers(gateway, "/any", token) == {(401, "token_revoked")}


def test_it_expires(gateway):
    token = create(gateway, "over")
    gateway.shell.run(
        "from authgate.models.service_tokens import ServiceToken; from django.utils import timezone\n"
        "row = ServiceToken.objects.get(name='over'); row.expires_at = timezone.now(); row.save()"
    )
    assert answers(gateway, "/any", token) == {(401, "token_expired")}
    create(gateway, "over")  # its name is free again


def test_a_role_or_a_token_of_the_policy_that_goes_takes_what_it_opened(gateway, session_upstream):
    token = create(gateway, "stays", "--role", "writer")
    policy = POLICY.format(target=session_upstream.target)
    try:
        gateway.import_policy(policy.replace("grants: [{role: everybody, when: {authenticated: true}}]\n", ""))
        assert answers(gateway, "/own", token) == {(403, "missing_role")}
    finally:
        gateway.import_policy(policy)


def test_when_it_was_used_is_known_within_a_minute(gateway):
    token = create(gateway, "watched")
    assert "last used never" in line_of(gateway, "watched")
    gateway.get("/any", headers=basic(token))
    deadline = time.monotonic() + 45
    while "last used never" in line_of(gateway, "watched"):
        assert time.monotonic() < deadline
        time.sleep(1)


# --- the command ---------------------------------------------------------------------------------------------


def line_of(gateway, name: str) -> str:
    lines = gateway.shell.command("service_token", "list").splitlines()
    return next((line for line in lines if line.startswith(f"{name}  ")), "")


def test_create_prints_the_token_and_how_to_use_it_once(gateway):
    result = gateway.run("service_token", "create", "printed", "--expires", "12h", "--owner", "ops@example.com")
    token, _, curl = result.stdout.split("\n")[:3]
    assert has_checksum(token.encode())
    assert curl == f"curl -H 'Authorization: Bearer {token}' {gateway.url}/auth/me"
    assert "service|printed  jti svc:" in result.stderr
    listed = gateway.manage("service_token", "list")
    assert token not in listed
    assert "owner ops@example.com" in line_of(gateway, "printed")
    assert "(in 0 days)" in line_of(gateway, "printed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ci",), "NAME: a token with this name is in force already"),
        (("bad name",), "NAME: must have 1 to 60 letters"),
        (("x", "--role", "nobody"), "--role: the live policy has no role 'nobody'"),
        (("x", "--route", "nowhere"), "--route: the live policy has no route 'nowhere'"),
        (("x", "--network", "10.0.0.1/8"), "--network: '10.0.0.1/8' is not an address or CIDR block"),
        (("x", "--expires", "367d"), "--expires: must be more than 0 and at most 366 days"),
        (("x", "--expires", "0d"), "--expires: must be more than 0 and at most 366 days"),
        (("x", "--expires", "soon"), "'soon' must look like 90d, 12h or 2w"),
    ],
)
def test_create_refuses_with_the_option_that_is_wrong(gateway, token, arguments, words):
    result = gateway.run("service_token", "create", *arguments)
    assert (result.returncode != 0, result.stdout) == (True, "")
    assert words in result.stderr


def test_revoke_says_when_there_is_none(gateway):
    result = gateway.run("service_token", "revoke", "missing")
    assert result.returncode == 1
    assert "there is no service token 'missing' in force" in result.stderr
