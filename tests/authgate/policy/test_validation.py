from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.policy.document import (
    Grant,
    PolicyDocument,
    PolicyInvalid,
    RateLimit,
    Role,
    Route,
    Timeouts,
    Upstream,
    When,
    validate,
)
from authgate.policy.table import build_table

UPSTREAM = Upstream(targets=("http://127.0.0.1:8080",))
ROUTE = Route(name="r", path="/api", access="public", upstream="api")


def document(*routes, **parts):
    parts.setdefault("upstreams", {"api": UPSTREAM})
    parts.setdefault("roles", {"admin": Role()})
    return PolicyDocument(routes=tuple(routes), **parts)


OWN_HOSTS = frozenset(("gateway.test", "admin.example.com", "10.0.0.1", "[::1]"))


def errors(doc):
    return validate(doc, own_hosts=OWN_HOSTS, auth_prefix="/auth")


def route_errors(**fields):
    return [str(error) for error in errors(document(msgspec.structs.replace(ROUTE, **fields)))]


def only(found):
    assert len(found) == 1, found
    return found[0]


def test_a_good_policy_has_no_errors():
    assert errors(document(ROUTE)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"name": "a b"}, "routes.a b.name: 'a b' is not a name", id="name-with-space"),
        pytest.param({"name": "r\n"}, "is not a name", id="name-with-newline"),
        pytest.param({"name": ""}, "routes[0].name: '' is not a name", id="empty-name"),
        pytest.param({"name": "a" * 101}, "at most 100 characters", id="long-name"),
        pytest.param({"upstream": "nope"}, "routes.r.upstream: unknown upstream 'nope'", id="unknown-upstream"),
        pytest.param({"rate_limit": "nope"}, "routes.r.rate_limit: unknown rate limit 'nope'", id="unknown-limit"),
        pytest.param({"access": "roles"}, "routes.r.roles: access roles needs at least one role", id="no-roles"),
        pytest.param({"access": "roles", "roles": ("",)}, "an empty role is not allowed", id="empty-role"),
        pytest.param({"access": "roles", "roles": (" ",)}, "an empty role is not allowed", id="blank-role"),
        pytest.param({"access": "roles", "roles": ("x",)}, "routes.r.roles: unknown role 'x'", id="unknown-role"),
        pytest.param({"access": "roles", "roles": ("admin",) * 2}, "r.roles: a role is named twice", id="role-twice"),
        pytest.param({"roles": ("admin",)}, "r.roles: roles have no effect with access public", id="roles-on-public"),
        pytest.param(
            {"access": "authenticated", "roles": ("admin",)}, "no effect with access authenticated", id="roles-idle"
        ),
        pytest.param({"methods": ("",)}, "an empty method is not allowed", id="empty-method"),
        pytest.param({"methods": ("get",)}, "'get' is not a method", id="lower-case-method"),
        pytest.param({"methods": ("GET ",)}, "is not a method", id="method-with-space"),
        pytest.param({"methods": ("CONNECT",)}, "CONNECT is never served", id="connect"),
        pytest.param({"methods": ("TRACE",)}, "TRACE is never served", id="trace"),
        pytest.param({"methods": ("GET", "GET")}, "r.methods: a method is named twice", id="method-twice"),
        pytest.param({"pass_headers": ("X-Remote-User", "x-remote-user")}, "r.pass_headers: a header is named twice",
                     id="header-twice"),
        pytest.param({"pass_headers": ("Authorization",)}, "there is pass_authorization", id="pass-authorization"),
        pytest.param({"pass_headers": ("X-Auth-User-ID",)}, "is always set by the gateway itself", id="pass-ours"),
        *(
            pytest.param({"pass_headers": (name,)}, f"r.pass_headers: {name!r} cannot be let", id=f"pass-{name}")
            for name in (
                "", "X-Custom", "Cookie", "Host", "Connection", "Transfer-Encoding", "X-Request-ID", "X-Real-IP",
                "X-Auth-User-New", "X-Forwarded-For", "X-Forwarded-User", "Forwarded", "X-HTTP-Method-Override",
                "X-Original-URL", "CF-Connecting-IP", "X_Remote_User", "Remote-User:", "Remote-User ", "Remote-Usér",
                "X-Auth-Token", "Remote-" + "x" * 94,
            )
        ),
        pytest.param({"timeouts": Timeouts(connect=0)}, "routes.r.timeouts.connect: must be more", id="zero-timeout"),
        pytest.param({"timeouts": Timeouts(idle=float("inf"))}, "timeouts.idle", id="infinite-timeout"),
        pytest.param({"timeouts": Timeouts(idle=float("nan"))}, "timeouts.idle", id="nan-timeout"),
        pytest.param({"timeouts": Timeouts(response=86401)}, "at most 86400", id="long-timeout"),
    ],
)  # fmt: skip
def test_a_route_is_refused_with_its_place(fields, message):
    assert message in only(route_errors(**fields))


@pytest.mark.parametrize("name", ["a", "7", "Az09._-", "aZ", "a" * 100, "0." + "z-_9" * 20])
def test_a_name_is_accepted_everywhere(name):
    parts = {"upstreams": {name: UPSTREAM}, "roles": {name: Role()}, "rate_limits": {name: RateLimit(rate="1/s")}}
    fields = {"name": name, "upstream": name, "access": "roles", "roles": (name,), "rate_limit": name}
    assert errors(document(msgspec.structs.replace(ROUTE, **fields), **parts)) == []


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a" * 101, "a/b", "é", "a\n"])
def test_a_name_is_refused_everywhere(name):
    found = errors(
        document(upstreams={name: UPSTREAM}, roles={name: Role()}, rate_limits={name: RateLimit(rate="1/s")})
    )
    assert [error.place for error in found] == [("upstreams", name), ("roles", name), ("rate_limits", name)]


CONTROLS = ["\x00", "\x1f", "\x7f", "\x80", "\x9f", "\u2028", "\u2029", "\n"]


@pytest.mark.parametrize("text", [*(f"a{control}b" for control in CONTROLS), "a" * 501])
def test_a_description_is_refused(text):
    assert only(errors(document(roles={"a": Role(description=text)}))).place == ("roles", "a", "description")


@pytest.mark.parametrize("text", ["", "a" * 500, " ~\xa0é\u2027\u202a"])
def test_a_description_is_accepted(text):
    assert errors(document(roles={"a": Role(description=text)})) == []


@pytest.mark.parametrize("value", [0.001, 1, 86400])
def test_a_timeout_is_accepted(value):
    timeouts = Timeouts(connect=value, response=value, idle=value)
    upstreams = {"api": Upstream(targets=("http://a",), timeouts=timeouts)}
    assert errors(document(msgspec.structs.replace(ROUTE, timeouts=timeouts), upstreams=upstreams)) == []


@pytest.mark.parametrize("field", ["connect", "response", "idle"])
@pytest.mark.parametrize("value", [0, -1, 86400.5, float("inf"), float("nan")])
def test_a_timeout_is_refused_on_a_route_and_on_an_upstream(field, value):
    timeouts = Timeouts(**{field: value})
    upstreams = {"api": Upstream(targets=("http://a",), timeouts=timeouts)}
    found = errors(document(msgspec.structs.replace(ROUTE, timeouts=timeouts), upstreams=upstreams))
    assert [error.place for error in found] == [
        ("upstreams", "api", "timeouts", field),
        ("routes", "r", "timeouts", field),
    ]


@pytest.mark.parametrize(
    "name", ["X-Remote-User", "x-auth-user", "CF-ACCESS-JWT-ASSERTION", "X-Access-Token", "Remote-" + "x" * 93]
)
def test_identity_headers_of_other_gateways_can_be_let_through(name):
    assert route_errors(pass_headers=(name,)) == []


@pytest.mark.parametrize("host", ["", "example.com", "*.example.com", "localhost", "10.0.0.1", "[::1]", "my_app"])
def test_a_host_as_requests_carry_it_is_accepted(host):
    assert route_errors(host=host) == []


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("Example.com", "write it as example.com"),
        ("*.Example.com", "write it as *.example.com"),
        ("example.com.", "write it as example.com"),
        ("[0:0::1]", "write it as [::1]"),
        ("example.com:80", "without a port"),
        ("example.com:", "without a port"),
        ("bücher.example", "write it in punycode, as browsers send it: xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("*", "is not a host name"),
        ("*.", "is not a host name"),
        ("a.*.com", "is not a host name"),
        ("*.*.com", "is not a host name"),
        ("*example.com", "is not a host name"),
        ("a..b", "is not a host name"),
        ("-a.example", "is not a host name"),
        (" ", "is not a host name"),
        ("a/b", "is not a host name"),
        ("user@host", "is not a host name"),
        ("*.10.0.0.1", "an address has no subdomains"),
        ("*.[::1]", "an address has no subdomains"),
        ("a" * 64 + ".com", "is not a host name"),
        ("\x00", "is not a host name"),
        ("ü" * 300, "is not a host name"),
    ],
)
def test_a_host_that_no_request_would_carry_is_refused(host, message):
    error = only(route_errors(host=host))
    assert error.startswith("routes.r.host: ")
    assert message in error


@pytest.mark.parametrize("path", ["/", "/api", "/a/b/c", "/~me", "/v1.0/x-y_z", "/caf%C3%A9", "/...", "/.hidden"])
def test_a_canonical_path_is_accepted(path):
    assert route_errors(path=path) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "must begin with '/'"),
        ("api", "must begin with '/'"),
        ("/api/", "a prefix has no '/' at its end: /api also covers"),
        ("//", "empty segments"),
        ("//api", "empty segments"),
        ("/a//b", "empty segments"),
        ("/a/./b", "'.' and '..'"),
        ("/a/..", "'.' and '..'"),
        ("/café", "write it as /caf%C3%A9"),
        ("/caf%c3%a9", "write it as /caf%C3%A9"),
        ("/%61dmin", "write it as /admin"),
        ("/a%C3", "not UTF-8"),
        ("/a%C0%AF", "not UTF-8"),
        ("/@me", "'@' and '%40' alike"),
        ("/%40me", "'@' and '%40' alike"),
        ("/a%2Fb", "only letters"),
        ("/a;b", "only letters"),
        ("/a b", "only letters"),
        ("/a*", "no wildcards"),
        ("/a?b", "only letters"),
        ("/a#b", "only letters"),
        ("/a\\b", "only letters"),
        ("/a%", "only letters"),
        ("/a\n", "only letters"),
        ("/" + "a" * 1000, "longer than 1000"),
    ],
)
def test_a_path_with_another_spelling_is_refused(path, message):
    error = only(route_errors(path=path))
    assert error.startswith("routes.r.path: ")
    assert message in error


def test_an_exact_path_may_end_in_a_slash():
    assert route_errors(path="/api/", match="exact") == []


@pytest.mark.parametrize(
    "path", ["/auth", "/auth/x", "/admin", "/admin/x", "/dashboard", "/static/a", "/health", "/metrics", "/.well-known"]
)
@pytest.mark.parametrize(
    "host", ["", "gateway.test", "*.test", "admin.example.com", "*.example.com", "*.com", "10.0.0.1", "[::1]"]
)
def test_reserved_paths_cannot_be_routed_where_the_gateway_answers_them(path, host):
    assert "belongs to the gateway itself" in only(route_errors(path=path, host=host))


@pytest.mark.parametrize("path", ["/", "/administrator", "/authors", "/health.html"])
def test_paths_beside_or_above_reserved_ones_can_be_routed(path):
    assert route_errors(path=path) == []


def test_another_host_keeps_its_own_admin():
    assert route_errors(path="/admin", host="wiki.test") == []


def test_sign_in_is_reserved_on_every_host():
    assert "/auth belongs to the gateway itself on every host" in only(route_errors(path="/auth/x", host="wiki.test"))


LABEL = "a1-_" * 15 + "a1_"  # 63 characters: the longest that DNS takes


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:8080", "https://app.example.com", "http://app:1", "http://my_app:65535", "http://[::1]:80",
        "unix:/run/app.sock", "http://localhost", "http://a", "http://ab", "http://_a-b_", "http://a1.bc._d", "http://a.b.c",
        "http://4a.7b4", "http://[::1:a9fe:a9fe]", "unix:/" + "a" * 106,
        f"http://{LABEL}.{LABEL}.{LABEL}.{LABEL[:61]}", "http://1.2.3.4", "http://a:9", "http://a:10000", "http://a:54321",
        "http://[2001:db8::a9fe:a9fe]", "http://[fd00:ec2::253]", "http://[64:ff9b::1]",
    ],
)  # fmt: skip
def test_a_target_is_accepted(target):
    assert errors(document(upstreams={"api": Upstream(targets=(target,))})) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "an empty target"),
        (" ", "an empty target"),
        ("127.0.0.1:80", "must be http://host:port"),
        ("ftp://a", "must be http://host:port"),
        ("HTTP://a", "must be http://host:port"),
        ("file:///etc/passwd", "must be http://host:port"),
        ("http://a/", "no path"),
        ("http://a/b", "no path"),
        ("http://a?b", "no path"),
        ("http://a#b", "no path"),
        ("http://u:p@a", "no user name"),
        ("http://a b", "no spaces"),
        ("http://a\n", "no spaces"),
        ("http://a\\b", "no spaces"),
        ("http://a\x00", "no spaces"),
        ("http://a\x7f", "no spaces"),
        ("http://bücher", "only visible ASCII"),
        ("http://", "is not a host name"),
        ("http://:80", "is not a host name"),
        ("http://a:", "the port must be"),
        ("http://a:0", "the port must be"),
        ("http://a:080", "the port must be"),
        ("http://a:65536", "the port must be"),
        ("http://a:b", "the port must be"),
        ("http://a:80b", "the port must be"),
        ("http://App", "in lower case: app"),
        ("http://a.", "is not a host name"),
        (f"http://a{LABEL}", "a1-_a1-_"),
        (f"http://a.a{LABEL}", "a1-_a1-_"),
        (f"http://{LABEL}.{LABEL}.{LABEL}.{LABEL[:62]}", "a1-_a1-_"),
        ("http://-a", "is not a host name"),
        ("http://a-", "is not a host name"),
        ("http://a.-b", "is not a host name"),
        ("http://a.b-", "is not a host name"),
        ("http://a..b", "is not a host name"),
        ("http://a*b", "is not a host name"),
        ("http://[]", "is not an address"),
        ("http://a[b", "brackets"),
        ("http://a]b", "brackets"),
        ("http://a:1:2", "brackets"),
        ("http://::1", "brackets"),
        ("http://[::1", "brackets"),
        ("http://[::1%25eth0]", "is not an address"),
        ("http://2130706433", "is not an address"),
        ("http://0x7f.1", "is not an address"),
        ("http://0177.0.0.1", "is not an address"),
        ("http://127.1", "is not an address"),
        ("http://.5", "is not an address"),
        ("http://a.0x", "is not an address"),
        ("http://0xaF", "in lower case"),
        ("http://a.0x0f", "is not an address"),
        ("http://169.254.169.254", "link-local"),
        ("http://169.254.1.1:80", "link-local"),
        ("http://[fe80::1]", "link-local"),
        ("http://[::ffff:169.254.169.254]", "link-local"),
        ("http://[::ffff:a9fe:a9fe]", "link-local"),
        ("http://[::a9fe:a9fe]", "link-local"),
        ("http://[64:ff9b::169.254.169.254]", "link-local"),
        ("http://[2002:a9fe:a9fe::1]", "link-local"),
        ("http://[64:ff9b:1::a9fe:a9fe]", "link-local"),
        ("http://[::ffff:0:169.254.169.254]", "link-local"),
        ("http://168.63.129.16", "metadata"),
        ("http://100.100.100.200", "metadata"),
        ("http://192.0.0.192", "metadata"),
        ("http://[::ffff:100.100.100.200]", "metadata"),
        ("http://[fd20:ce::254]", "metadata"),
        ("http://[fd00:42::42]", "metadata"),
        ("http://[fd00:ec2::254]", "metadata"),
        ("http://0.0.0.0:80", "not the address of a host"),
        ("http://[::]", "not the address of a host"),
        ("http://224.0.0.1", "not the address of a host"),
        ("unix:run/app.sock", "absolute path"),
        ("unix:", "absolute path"),
        ("unix:/run/", "absolute path"),
        ("unix:/a?b", "no query"),
        ("unix:/a#b", "no query"),
        ("unix:/" + "a" * 107, "longer than 107"),
    ],
)
def test_a_target_is_refused(target, message):
    error = str(only(errors(document(upstreams={"api": Upstream(targets=(target,))}))))
    assert error.startswith("upstreams.api.targets: ")
    assert message in error


def test_an_upstream_needs_a_target():
    error = only(errors(document(upstreams={"api": Upstream(targets=())})))
    assert str(error) == "upstreams.api.targets: at least one target is needed"


@pytest.mark.parametrize("rate", ["1/s", "300/m", "1000/h", "1000000/s"])
def test_a_rate_is_accepted(rate):
    assert errors(document(rate_limits={"x": RateLimit(rate=rate)})) == []


@pytest.mark.parametrize(
    "rate", ["", "0/s", "-1/s", "1.5/s", "1/d", "1/S", "10", "1 /s", "1/s\n", "01/s", "٣/s", "1e9/s", "10000000/s"]
)
def test_a_rate_is_refused(rate):
    error = only(errors(document(rate_limits={"x": RateLimit(rate=rate)})))
    assert str(error).startswith("rate_limits.x.rate: must look like")


@pytest.mark.parametrize("burst", [0, 1, 10**6])
def test_a_burst_is_accepted(burst):
    assert errors(document(rate_limits={"x": RateLimit(rate="1/s", burst=burst)})) == []


@pytest.mark.parametrize("burst", [-1, 10**6 + 1, 10**30])
def test_a_burst_is_refused(burst):
    error = only(errors(document(rate_limits={"x": RateLimit(rate="1/s", burst=burst)})))
    assert error.place == ("rate_limits", "x", "burst")


@pytest.mark.parametrize(
    "when",
    [
        When(authenticated=True), When(claim="groups", contains="a"), When(claim="groups", contains=7),
        When(claim="mfa", equals=False), When(claim="org", equals=0),
        When(provider="okta", authenticated=True), When(provider="a_B-1", claim="groups", contains="a"),
        When(provider="a", authenticated=True), When(provider="a" * 40, authenticated=True),
        When(claim="c" * 200, contains="a"), When(claim="c", equals=" v "),
        When(claim="c", equals=2**63 - 1), When(claim="c", contains=1 - 2**63),
        When(claim="https://a.test/groups", equals=True),
    ],
)  # fmt: skip
def test_a_grant_is_accepted(when):
    assert errors(document(grants=(Grant(role="admin", when=when),))) == []


@pytest.mark.parametrize(
    ("when", "message"),
    [
        pytest.param(When(), "needs authenticated: true, or claim", id="nothing"),
        pytest.param(When(claim="groups"), "needs authenticated: true, or claim", id="claim-only"),
        pytest.param(When(contains="a"), "name of a claim", id="no-claim"),
        pytest.param(When(claim=" ", contains="a"), "name of a claim", id="blank-claim"),
        pytest.param(When(claim="g", contains="a", equals="a"), "exactly one", id="both"),
        pytest.param(When(authenticated=True, claim="g", contains="a"), "not both", id="two-forms"),
        pytest.param(When(claim="g", contains=""), "an empty value", id="contains-empty"),
        pytest.param(When(claim="g", contains=" "), "an empty value", id="contains-blank"),
        pytest.param(When(claim="g", equals=""), "an empty value", id="equals-empty"),
        pytest.param(When(claim="g", equals="a\x00"), "control", id="control"),
        pytest.param(When(claim="g", equals=2**70), "too large", id="huge"),
        pytest.param(When(provider="okta"), "needs authenticated: true, or claim", id="provider-only"),
        pytest.param(When(provider="a" * 41, authenticated=True), "is not the slug", id="long-slug"),
        pytest.param(When(authenticated=True, claim="g"), "not both", id="everybody-and-a-claim"),
        pytest.param(When(authenticated=True, equals=False), "not both", id="everybody-and-a-value"),
        pytest.param(When(claim="c" * 201, contains="a"), "at most 200", id="long-claim"),
        pytest.param(When(claim="c\x7f", contains="a"), "at most 200", id="control-in-claim"),
        pytest.param(When(claim="g", contains=2**63), "too large", id="one-too-large"),
        pytest.param(When(claim="g", equals=-(2**63)), "too large", id="one-too-small"),
        *(pytest.param(When(claim="g", contains=f"a{c}b"), "no control characters", id=ascii(c)) for c in CONTROLS),
        pytest.param(When(provider="o|kta", authenticated=True), "not the slug", id="provider-with-a-bar"),
        pytest.param(When(provider="o" * 41, authenticated=True), "not the slug", id="provider-too-long"),
        pytest.param(When(provider="okta\n", authenticated=True), "not the slug", id="provider-with-a-line-end"),
    ],
)
def test_a_grant_is_refused(when, message):
    error = only(errors(document(grants=(Grant(role="admin", when=when),))))
    assert error.place[:3] == ("grants", 0, "when")
    assert message in str(error)


@pytest.mark.parametrize(
    ("when", "field"),
    [
        (When(), ()), (When(authenticated=True, claim="g"), ()), (When(claim="", contains="a"), ("claim",)),
        (When(claim="c" * 201, contains="a"), ("claim",)),
        (When(claim="g", contains=""), ("contains",)), (When(claim="g", equals=""), ("equals",)),
        (When(provider="a b", authenticated=True), ("provider",)),
    ],
)  # fmt: skip
def test_a_fault_of_a_grant_has_the_place_of_its_field(when, field):
    assert only(errors(document(grants=(Grant(role="admin", when=when),)))).place == ("grants", 0, "when", *field)


def test_the_second_of_two_same_grants_is_at_fault():
    grant = Grant(role="admin", when=When(authenticated=True))
    assert only(errors(document(grants=(grant, grant)))).place == ("grants", 1)


def test_a_grant_names_its_unknown_role():
    error = only(errors(document(grants=(Grant(role="x", when=When(authenticated=True)),))))
    assert str(error) == "grants[0].role: unknown role 'x'"


def test_the_same_grant_twice_is_an_error_and_its_lookalike_is_not():
    one = Grant(role="admin", when=When(claim="x", equals=1))
    true = Grant(role="admin", when=When(claim="x", equals=True))
    assert errors(document(grants=(one, true))) == []
    elsewhere = Grant(role="admin", when=When(provider="okta", claim="x", equals=1))
    assert errors(document(grants=(one, elsewhere))) == []
    assert "the same as grants[0]" in str(only(errors(document(grants=(one, one)))))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"claim": "x", "contains": "a"}, {"claim": "x", "contains": "b"}),
        ({"claim": "x", "contains": 1}, {"claim": "x", "contains": True}),
        ({"claim": "x", "contains": "a"}, {"claim": "y", "contains": "a"}),
        ({"claim": "x", "contains": "a"}, {"claim": "x", "equals": "a"}),
        ({"claim": "x", "equals": "a"}, {"claim": "x", "equals": "b"}),
    ],
)  # fmt: skip
def test_grants_that_differ_in_one_thing_are_two(one, two):
    assert errors(document(grants=(Grant(role="admin", when=When(**one)), Grant(role="admin", when=When(**two))))) == []


def test_two_roles_may_be_granted_alike():
    grants = tuple(Grant(role=role, when=When(authenticated=True)) for role in ("admin", "staff"))
    assert errors(document(grants=grants, roles={"admin": Role(), "staff": Role()})) == []


def test_a_grant_without_a_condition_is_not_the_one_for_everybody():
    grants = (Grant(role="admin", when=When(authenticated=True)), Grant(role="admin", when=When()))
    assert only(errors(document(grants=grants))).place == ("grants", 1, "when")


@pytest.mark.parametrize(
    ("parts", "near"),
    [
        ({"upstream": "apis"}, "'api'"), ({"rate_limit": "slows"}, "'slow'"),
        ({"access": "roles", "roles": ("admins",)}, "'admin'"),
    ],
)  # fmt: skip
def test_an_unknown_name_of_a_route_comes_with_the_nearest_known(parts, near):
    doc = document(msgspec.structs.replace(ROUTE, **parts), rate_limits={"slow": RateLimit(rate="1/s")})
    assert str(only(errors(doc))).endswith(f"; did you mean {near}?")


def test_an_unknown_role_of_a_grant_comes_with_the_nearest_known():
    error = only(errors(document(grants=(Grant(role="admins", when=When(authenticated=True)),))))
    assert str(error).endswith("; did you mean 'admin'?")


def test_every_walk_over_the_routes_is_paced():
    paced = []
    doc = document(msgspec.structs.replace(ROUTE, paths="as_sent"))
    validate(doc, own_hosts=OWN_HOSTS, auth_prefix="/auth", pace=lambda routes: paced.append(routes) or routes)
    assert paced == [doc.routes] * 3


def tie(one, two):
    routes = [msgspec.structs.replace(ROUTE, name=name, **fields) for name, fields in (("one", one), ("two", two))]
    return [str(error) for error in errors(document(*routes))]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param({}, {}, id="all-methods"),
        pytest.param({"methods": ("GET", "POST")}, {"methods": ("POST", "PUT")}, id="overlapping-methods"),
        pytest.param({"methods": ("GET",)}, {"methods": ("HEAD",)}, id="get-covers-head"),
        pytest.param({"host": "a.test"}, {"host": "a.test"}, id="same-host"),
        pytest.param({"match": "exact"}, {"match": "exact"}, id="both-exact"),
        pytest.param({}, {"enabled": False}, id="one-disabled"),
    ],
)
def test_routes_that_could_tie_are_refused_naming_both(one, two):
    first, second = tie(one, two)
    assert first.startswith("routes.one.path: ")
    assert "route 'two'" in first
    assert second.startswith("routes.two.path: ")
    assert "route 'one'" in second


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param({}, {"methods": ("GET",)}, id="named-over-all"),
        pytest.param({"methods": ("GET",)}, {"methods": ("POST",)}, id="other-methods"),
        pytest.param({"host": "a.test"}, {"host": "b.test"}, id="other-hosts"),
        pytest.param({"host": "*.test"}, {"host": ""}, id="wildcard-and-any"),
        pytest.param({"match": "exact"}, {}, id="exact-and-prefix"),
        pytest.param({"path": "/a"}, {"path": "/b"}, id="other-paths"),
    ],
)
def test_routes_with_an_order_between_them_are_accepted(one, two):
    assert tie(one, two) == []


def test_two_routes_of_one_name_are_refused():
    other = msgspec.structs.replace(ROUTE, path="/other")
    assert str(only(errors(document(ROUTE, other)))) == "routes.r.name: two routes have this name"


@given(
    st.lists(
        st.builds(
            Route,
            name=st.text(max_size=3), path=st.text("/a%C3.é@\\", max_size=6), access=st.just("public"),
            upstream=st.sampled_from(["api", "x"]), host=st.text("a.*:[]é", max_size=4),
            match=st.sampled_from(["exact", "prefix"]),
            methods=st.lists(st.text("GET ", max_size=3), max_size=2).map(tuple),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_whatever_is_written_is_refused_or_served_and_what_validates_can_be_built(routes):
    doc = document(*routes)
    found = errors(doc)
    assert all(str(error).isprintable() for error in found)
    try:
        entries = build_table(doc, found).entries
    except PolicyInvalid:
        assert found
    else:
        assert len(entries) == len(routes)
        assert bool(found) == any(entry.problem for entry in entries)


def test_all_errors_are_reported_at_once():
    bad = msgspec.structs.replace(ROUTE, host="A", path="x", upstream="y", methods=("get",))
    assert [error.place[2] for error in errors(document(bad))] == ["upstream", "host", "path", "methods"]
