"""Routes with `paths: as_sent`: the service receives the very bytes, and no route is reached by another one's path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.authgate.pages.test_login_redirect import ADD_PROVIDER, PAGE
from tests.proxy.server.test_http2_requests import exchange
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.http2 import DATA, head
from tests.support.neighbours import upstream_sees_nothing
from tests.support.sessions import make_session, run
from tests.support.upstream import RecordingUpstream

SERVERS = [pytest.param((), id="http1"), pytest.param(("--http2",), id="http2")]


def policy(target: str) -> str:
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
roles: {{admin: {{}}}}
rate_limits: {{rare: {{rate: 1/h, burst: 1, per: route}}}}
routes:
  - {{name: queues,  path: /mq/api,  access: public, upstream: api, paths: as_sent}}
  - {{name: mq,      path: /mq,      access: public, upstream: api}}
  - {{name: guarded, path: /guarded, access: roles, roles: [admin], upstream: api, paths: as_sent}}
  - {{name: read,    path: /things,  access: public, methods: [GET], upstream: api, paths: as_sent}}
  - {{name: write,   path: /things,  access: roles, roles: [admin], methods: [PUT], upstream: api}}
  - {{name: strip,   path: /strip,   access: public, upstream: api, paths: as_sent, strip_prefix: true}}
  - {{name: limited, path: /limited, access: public, upstream: api, paths: as_sent, rate_limit: rare}}
  - {{name: off,     path: /off,     access: public, upstream: api, paths: as_sent, enabled: false}}
  - {{name: secret,  path: /secret,  access: roles, roles: [admin], upstream: api}}
  - {{name: upper,   path: /Upper,   access: public, upstream: api}}
  - {{name: closed,  path: /upper/secret, access: roles, roles: [admin], upstream: api}}
  - {{name: npm,     path: /, host: npm.test,      access: public, upstream: api, paths: as_sent}}
  - {{name: tenants, path: /, host: "*.wild.test", access: authenticated, upstream: api, paths: as_sent}}
  - {{name: plain,   path: /, host: plain.test,    access: public, upstream: api}}
"""


@pytest.fixture(scope="module", params=SERVERS)
def gate(request, gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("as-sent") / "data"
    text = policy(session_upstream.target)
    with Gateway(data, template=gateway_template, policy=text, args=request.param) as gateway:
        run(gateway, ADD_PROVIDER)
        gateway.start()
        gateway.settle()
        yield gateway


# As RabbitMQ's management, GitLab, npm, Jenkins and others have them.
SENT = {
    "escaped slash": b"/mq/api/queues/%2F/name",
    "in lower case": b"/mq/api/queues/%2f/name",
    "with an escaped letter": b"/mq/api/%71ueues/%2F",
    "GitLab's project": b"/mq/api/v4/projects/group%2Fproject",
    "npm's scope": b"/mq/api/@scope%2fpkg",
    "Jenkins' branch": b"/mq/api/job/feature%252Fname",
    "parameter": b"/mq/api/a;v=1/b;w",
    "matrix parameter of the last": b"/mq/api/;x",
    "empty segment": b"/mq/api//a//b",
    "empty segments at the end": b"/mq/api/a//",
    "braces": b"/mq/api/{id}",
    "escaped percent": b"/mq/api/100%25;%2Fx",
    "dots that climb nowhere": b"/mq/api/a..b;/.git/x...y",
    "letters": b"/mq/api/caf%c3%a9/%2F",
    "query": b"/mq/api/%2F?a=%2F..//;{}&b",
    "empty query": b"/mq/api/%2F?",
}


@pytest.mark.parametrize("target", SENT.values(), ids=SENT.keys())
def test_the_service_receives_the_very_bytes(gate, upstream, target):
    response = gate.get(target)
    assert response.status == 200
    # ASGI loses a bare "?" on --http2, as everywhere there.
    assert upstream.only.target == (target if "--http2" not in gate.args else target.removesuffix(b"?"))
    (line,) = gate.log_lines(wait_for=1, request_id=upstream.only.header("x-request-id"))
    assert (line["route"], line["decision"]) == ("queues", "allow")
    assert line["path"] == target.partition(b"?")[0].decode()
    assert "rule" not in line


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
def test_any_method_of_the_route_and_its_body_go_too(gate, upstream, method):
    body = b"abc" if method in ("POST", "PUT") else None
    assert gate.request("/mq/api/%2F;x", method=method, body=body).status == 200
    upstream.wait(1, complete=True)
    assert (upstream.only.method, upstream.only.target) == (method, b"/mq/api/%2F;x")
    assert bytes(upstream.only.body) == (body or b"")


def test_a_kept_connection_carries_one_after_the_other(gate, upstream):
    with gate.connect() as client:
        for target in (b"/mq/api/%2F", b"/mq/api/x", b"/mq/api//y"):
            client.send(raw.request(target=target))
            assert client.response().status == 200
    assert [request.target for request in upstream.requests] == [b"/mq/api/%2F", b"/mq/api/x", b"/mq/api//y"]


def test_an_absolute_target_is_the_same(gate, upstream):
    response = gate.request(b"http://localhost/mq/api//%2F", host="localhost")
    assert (response.status, upstream.only.target) == (200, b"/mq/api//%2F")


@pytest.mark.parametrize(
    ("target", "sent"),
    [(b"/mq/api/%71ueues/%7ex", b"/mq/api/queues/~x"), (b"/mq/api/", b"/mq/api/"), (b"/mq/api", b"/mq/api")],
)
def test_a_path_with_one_spelling_is_sent_in_it_as_everywhere(gate, upstream, target, sent):
    assert gate.get(target).status == 200
    assert upstream.only.target == sent


NEVER = {
    "dot": b"/./x;",
    "dot dot": b"/a/../b;",
    "dot dot at the end": b"/a;/..",
    "escaped": b"/%2e%2e/secret;",
    "in another case": b"/%2E%2e/secret;",
    "half escaped": b"/.%2e/secret;",
    "half escaped behind": b"/%2e./secret;",
    "with a parameter": b"/..;x=y/secret",
    "escaped with a parameter": b"/%2e%2e;/secret",
    "with an escaped parameter": b"/..%3bx/secret;",
    "with an escaped slash": b"/..%2fsecret",
    "all escaped": b"/%2e%2e%2f%2e%2e%2fsecret",
    "with an escaped backslash": b"/..%5csecret",
    "with a backslash": b"/..\\secret",
    "escaped backslash": b"/a%5cb",
    "backslash": b"/a\\b;",
    "encoded twice": b"/%252e%252e/secret",
    "slash encoded twice": b"/..%252fsecret",
    "backslash encoded twice": b"/..%255csecret",
    "encoded three times": b"/%25252e%25252e/secret",
    "encoded five times": b"/%252525252e/secret",
    "encoded by parts": b"/%25%32%65%25%32%65/secret",
    "overlong dots": b"/%c0%ae%c0%ae/secret",
    "overlong slash": b"/..%c0%afsecret",
    "overlong, encoded twice": b"/%25c0%25ae%25c0%25ae/;",
    "IIS": b"/%u002e%u002e/;",
    "IIS, encoded twice": b"/%25u002e%25u002e/;",
    "fullwidth dots": b"/%ef%bc%8e%ef%bc%8e/;",
    "fullwidth percent": b"/%ef%bc%852e%ef%bc%852e/;",
    "fullwidth slash": b"/..%ef%bc%8fsecret;",
    "two dot leader": b"/%e2%80%a5/;",
    "ellipsis": b"/%e2%80%a6/;",
    "three dots": b"/.../;",
    "spaces around": b"/%20..%20/;",
    "no-break space": b"/..%c2%a0/;",
    "zero width space": b"/.%e2%80%8b./;",
    "escaped question mark": b"/..%3f/;",
    "escaped hash": b"/..%23/;",
    "stream": b"/..::$INDEX_ALLOCATION/;",
    "NUL": b"/a%00;",
    "NUL encoded twice": b"/a%2500;",
    "CR LF": b"/a%0d%0aX:y;",
    "CR LF encoded twice": b"/a%250d%250aX:y",
    "DEL": b"/a%7f;",
    "tab": b"/a%09;",
    "8-bit": b"/\xc3\xa9;",
    "not UTF-8": b"/%ff;",
    "broken escape": b"/%2;",
    "quotation mark": b'/";',
    "angle brackets": b"/<x>;",
    "space": b"/a b;",
    "fragment": b"/a;#b",
    "too many escapes": b"/;" + b"%41" * 1025,
}


@pytest.mark.parametrize("prefix", [b"/mq/api", b"/strip", b"/things"])
@pytest.mark.parametrize("rest", NEVER.values(), ids=NEVER.keys())
def test_what_could_climb_or_break_a_line_stays_refused(gate, upstream, prefix, rest):
    response = gate.get(prefix + rest)
    if b"#" in rest and "--http2" in gate.args:
        # The library of that server cuts a fragment off before anybody reads the target.
        assert upstream.only.target == (prefix + rest).partition(b"#")[0].removeprefix(b"/strip")
        return
    assert response.status == 400
    assert upstream.requests == []


ELSEWHERE = {
    "beside it": b"/mq//api/x",
    "prefix in another spelling": b"/mq/%61pi/%2F",
    "prefix in another case": b"/mq/API/%2F",
    "slash of the prefix escaped": b"/mq%2Fapi/x",
    "parameter behind the prefix": b"/mq/api;x/y",
    "parameter in front": b"/mq;x/api/y",
    "two slashes in front": b"//mq/api/x",
    "no end of the segment": b"/mq/apix/%2F",
    "another route": b"/secret//x",
    "another route, escaped": b"/secret%2Fx",
    "no route": b"/nothing//x",
    "sign-in": b"/auth//login",
    "admin": b"/admin//",
    "health": b"/health;x",
    "static": b"/static//x",
    "dashboard": b"//dashboard",
}


@pytest.mark.parametrize("target", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_everywhere_else_they_are_refused_as_without_the_option(gate, upstream, target):
    response = gate.get(target)
    assert (response.status, response.json()["reason"]) == (400, "bad_target")
    assert upstream.requests == []


OWN = {
    "sign-in": b"/auth//login",
    "escaped": b"/auth%2Flogin",
    "in front": b"/;/auth/login",
    "parameter": b"/auth;x/login",
    "case": b"/AUTH//login",
    "encoded twice": b"/%2561uth/login",
    "trimmed": b"/auth.%20/;",
    "fullwidth": b"/%ef%bd%81uth/;",
    "the prefix itself": b"/auth;",
    "callback": b"/auth/callback/x;y",
}


@pytest.mark.parametrize("target", OWN.values(), ids=OWN.keys())
def test_the_gateways_own_paths_on_a_services_host_are_never_the_services(gate, upstream, target):
    response = gate.request(target, host="npm.test")
    assert (response.status, response.json()["reason"]) == (400, "bad_target")
    assert upstream.requests == []


@pytest.mark.parametrize("target", [b"//evil.test/x", b"/%2Fevil.test", b"/%252Fevil.test;", b"/%e2%80%8b/evil.test;"])
@pytest.mark.parametrize(("host", "prefix"), [("npm.test", b""), ("localhost", b"/strip")])
def test_what_the_service_receives_never_begins_with_a_host(gate, upstream, target, host, prefix):
    assert gate.request(prefix + target, host=host).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize("target", [b"/@scope%2fpkg", b"/admin//x", b"/authors;x", b"/a/auth/%2F", b"/dashboard;x"])
def test_a_host_of_a_service_may_take_them_everywhere(gate, upstream, target):
    assert gate.request(target, host="npm.test").status == 200
    assert upstream.only.target == target


def test_a_neighbouring_host_is_as_it_was(gate, upstream):
    assert gate.request("/@scope%2fpkg", host="plain.test").status == 400
    assert upstream.requests == []


def test_a_stripped_prefix_is_taken_off_and_nothing_else(gate, upstream):
    assert gate.get("/strip/a//%2F;x/{y}?z").status == 200
    assert upstream.only.target == b"/a//%2F;x/{y}?z"
    assert upstream.only.header("x-forwarded-prefix") == "/strip"


def test_a_redirect_from_below_a_stripped_prefix_comes_back_below_it(gate, upstream):
    upstream.reply(b"HTTP/1.1 302 Found\r\nLocation: ../next%2Fone\r\nContent-Length: 0\r\n\r\n")
    assert gate.get("/strip/a//%2F;x").header("location") == "/strip/a/next%2Fone"


def test_roles_are_asked_for_as_for_any_path(gate, upstream):
    assert gate.get("/guarded/%2F").json()["reason"] == "no_credential"
    assert gate.get("/guarded/%2F", token=gate.mint("bob")).json()["reason"] == "missing_role"
    assert upstream.requests == []
    assert gate.get("/guarded/%2F", token=gate.mint("ann", roles=("admin",))).status == 200
    assert upstream.only.header("x-auth-user-id") == "ann"


def test_a_route_of_the_same_path_for_another_method_keeps_its_own_rule(gate, upstream):
    admin = gate.mint("ann", roles=("admin",))
    assert gate.get("/things/%2F").status == 200
    assert gate.request("/things/%2F", method="PUT", body=b"", token=admin).status == 400
    assert gate.request("/things/%2F", method="DELETE").status == 400
    assert gate.request("/things/x", method="PUT", body=b"").status == 401
    assert len(upstream.requests) == 1


def test_limits_count_them(gate, upstream):
    statuses = [gate.get(target).status for target in ("/limited/%2F", "/limited/;x", "/limited//y", "/limited/z")]
    assert statuses[-1] == 429
    assert statuses.count(200) <= 2
    assert len(upstream.requests) == statuses.count(200)


def test_a_route_that_is_switched_off_is_closed_to_them(gate, upstream):
    assert gate.get("/off/%2F").json()["reason"] == "route_disabled"
    assert upstream.requests == []


def test_another_site_may_not_use_a_session_there(gate, upstream):
    cookie = ("Cookie", f"auth_token={make_session(gate).cookie}")
    gate.settle()

    def post(site):
        headers = [cookie, ("Sec-Fetch-Site", site)]
        return gate.request("/a%2Fb", method="POST", body=b"", host="x.wild.test", headers=headers)

    ours, theirs = post("same-origin"), post("cross-site")
    assert (ours.status, theirs.status) == (200, 403)
    assert theirs.json()["reason"] == "cross_site"
    assert len(upstream.requests) == 1


def next_of(response):
    assert response.status == 302
    address = urlsplit(response.header("location"))
    assert (address.scheme, address.netloc, address.path) == ("", "", "/auth/login")
    return parse_qs(address.query, strict_parsing=True)["next"]


@pytest.mark.parametrize("target", ["/guarded/%2F/x", "/guarded//a;b/{c}?d=%2F", "/guarded/a%252Fb?"])
def test_signing_in_leads_back_to_the_very_address(gate, target):
    if "--http2" in gate.args:
        target = target.removesuffix("?")
    assert next_of(gate.get(target, headers=PAGE)) == [target]


REFUSED_BY = {
    "a bare ;": b"/secret/a;b",
    "an encoded slash (%2F)": b"/secret/a%2fb",
    "an encoded backslash (%5C)": b"/secret/a%5Cb",
    "an encoded control character (%00)": b"/secret/a%00b",
    "a bare {": b"/secret/{id}",
    "a broken escape": b"/secret/%zz",
    "an empty segment (//)": b"/secret//x",
    "a dot segment": b"/secret/../x",
    "is encoded twice": b"/secret/%2541",
    "is not UTF-8": b"/secret/%ff",
    "could be read as one of the gateway's own": b"/auth//x",
}


@pytest.mark.parametrize(("rule", "target"), REFUSED_BY.items(), ids=REFUSED_BY.keys())
def test_the_log_names_the_rule_that_refused(gate, rule, target):
    response = gate.request(target, host="npm.test" if target.startswith(b"/auth") else "plain.test")
    (line,) = gate.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert (line["status"], line["reason"]) == (400, "bad_target")
    assert rule in line["rule"]


def test_the_log_of_a_second_reading_names_it(gate):
    response = gate.get("/Upper/secret/x")
    (line,) = gate.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert (line["reason"], line["rule"]) == (
        "bad_target", "an application could read the path as one of another route"
    )  # fmt: skip


@pytest.mark.parametrize("gate", [SERVERS[1]], indirect=True)
def test_http2_hands_on_its_raw_path(gate, upstream):
    assert exchange(gate, head("/mq/api/%2F//a;b/{c}"))[0] == DATA
    assert upstream.only.target == b"/mq/api/%2F//a;b/{c}"
    assert b"bad_target" in exchange(gate, head("/mq/api/%2F/%2e%2E/x"))[1]
    assert b"bad_target" in exchange(gate, head("/secret/%2F"))[1]
    assert len(upstream.requests) == 1


def test_a_policy_without_the_option_refuses_what_it_refused_before(start_gateway, upstream):
    gateway = start_gateway(policy=policy(upstream.target).replace(", paths: as_sent", ""))
    for target in (*SENT.values(), *(b"/mq/api" + rest for rest in NEVER.values()), *ELSEWHERE.values()):
        assert upstream_sees_nothing(gateway, upstream, raw.request(target=target)).status == 400
