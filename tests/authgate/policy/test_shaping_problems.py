"""What the validator refuses of how routes change requests and responses."""

from __future__ import annotations

import pytest

from authgate.policy.document import (
    Cors,
    HeaderRules,
    IdentityValue,
    PolicyInvalid,
    Redirect,
    Timeouts,
    Upstream,
    from_plain,
)
from tests.authgate.policy.test_validation import ROUTE, document, errors, only, route_errors


def told(name, value="email"):
    return route_errors(identity_headers={name: value})


@pytest.mark.parametrize(
    "name",
    ["X-WEBAUTH-USER", "Remote-User", "X-Auth-Request-Email", "X-Forwarded-Access-Token", "X-Forwarded-User", "X-Login",
     "X-Auth-Username", "Tailscale-User-Login"],
)  # fmt: skip
def test_a_name_that_services_read(name):
    assert told(name) == []


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Content-Type", "Connection", "Transfer-Encoding", "TE", "Upgrade", "Cookie", "Expect",
     "X-Auth-User-ID", "X-Auth-User-Anything", "x-auth-assertion", "X-Request-ID", "X-Real-IP", "X-Forwarded-For",
     "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-Anything", "Forwarded", "X-Original-URL", "Origin",
     "X-HTTP-Method-Override", "Accept", "Sec-Fetch-Site", "Range", "If-Match", "User-Agent", "Proxy", "X_Login",
     "X.Login", "X Login", "X-Login:", "X-Login\r\nX-Evil", "", "-x", "x-", "X-L\u00f6gin", "\ud800", "a" * 101],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_no_route_may_set(name):
    assert "identity_headers" in only(told(name))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("emial", "did you mean 'email'?"),
        ("groups", "a claim is {claim: NAME}"),
        (IdentityValue(), "exactly one of"),
        (IdentityValue(claim="g", roles=True), "exactly one of"),
        (IdentityValue(claim="g\n"), "control character"),
        (IdentityValue(claim="g", join="\r\n"), "join: one to five"),
        (IdentityValue(claim="g", join="ab"), "join: one to five"),
        (IdentityValue(basic_from="email"), "only Authorization takes basic_from"),
    ],
)
def test_a_value_that_tells_nothing(value, message):
    assert message in only(told("X-Login", value))


@pytest.mark.parametrize("value", ["email", "access_token", IdentityValue(claim="g"), IdentityValue(roles=True)])
def test_authorization_is_basic_alone(value):
    assert "only {basic_from" in only(told("Authorization", value))


def test_basic_is_not_made_from_a_token():
    assert "cannot be made from access_token" in only(told("Authorization", IdentityValue(basic_from="access_token")))


def test_a_name_in_two_spellings_is_named_twice():
    assert "named twice" in only(route_errors(identity_headers={"X-A": "email", "x-a": "name"}))


def test_no_other_route_passes_what_one_sets():
    sets = replaced("sets", identity_headers={"X-Remote-User": "email"})
    passes = replaced("passes", pass_headers=("x-remote-user",))
    assert "routes.passes.pass_headers: x-remote-user is set by the route 'sets'" in faults(sets, passes)


BASIC = {"Authorization": IdentityValue(basic_from="email")}


def test_a_route_that_sets_authorization_does_not_pass_it():
    assert "sets Authorization itself" in only(route_errors(identity_headers=BASIC, pass_authorization=True))


@pytest.mark.parametrize(("upstream", "is_wrong"), [("api", True), ("twin", True), ("other", False)])
def test_no_route_to_the_same_service_passes_authorization(upstream, is_wrong):
    sets = replaced("sets", identity_headers=BASIC)
    passes = replaced("passes", pass_authorization=True, upstream=upstream)
    api = Upstream(targets=("http://a.test", "http://b.test"))
    others = {"twin": Upstream(targets=("http://b.test",)), "other": Upstream(targets=("http://c.test",))}
    found = errors(document(sets, passes, upstreams={"api": api, **others}))
    assert [fault.place for fault in found] == ([("routes", "passes", "pass_authorization")] if is_wrong else [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"X-A": {"claims": "g"}}, "routes.r.identity_headers.X-A.claims: unknown key; did you mean 'claim'?"),
        ({"X-A": {"claim": 7}}, "routes.r.identity_headers.X-A.claim: must be text, not 7"),
        ({"X-A": None}, "routes.r.identity_headers.X-A: must be text or a map, not nothing"),
        (["X-A"], "routes.r.identity_headers: must be a map, not ['X-A']"),
    ],
)
def test_a_fault_of_form_has_its_place(value, message):
    route = {"name": "r", "path": "/", "access": "public", "upstream": "api", "identity_headers": value}
    with pytest.raises(PolicyInvalid) as caught:
        from_plain({"version": 1, "upstreams": {"api": {"targets": ["http://a.test"]}}, "routes": [route]})
    assert str(caught.value) == message


def replaced(name, **fields):
    from msgspec.structs import replace

    return replace(ROUTE, name=name, path=f"/{name}", **fields)


def faults(*routes):
    return only([str(fault) for fault in errors(document(*routes))])


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Strict-Transport-Security": None}, "is for the whole host"),
        ({"X-Whatever": "1"}, "no security header that is known"),
        ({"Content-Security-Policy": None}, "is not added unless a value is given"),
        ({"X-Frame-Options": "a\r\nSet-Cookie: auth_token=x"}, "visible ASCII"),
        ({"X-Frame-Options": ""}, "visible ASCII"),
        ({"X-Frame-Options": "\u00e9"}, "visible ASCII"),
        ({"X-Frame-Options": "a", "x-frame-options": "b"}, "named twice"),
    ],
)
def test_security_headers_that_are_refused(headers, message):
    assert message in " ".join(route_errors(security_headers=headers))


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Expect", "Upgrade", "Authorization", "Cookie",
     "X-Auth-User-ID", "X-Auth-Assertion", "X-Request-ID", "X-Forwarded-For", "X-Forwarded-Access-Token", "Forwarded",
     "X-Real-IP", "X-Remote-User", "Remote-User", "Origin", "Referer", "Sec-WebSocket-Key", "Sec-Fetch-Site",
     "DPoP", "X-HTTP-Method-Override", "Destination", "Depth",
     "X_Tenant", "X-Tenant:", "", "X-Tenant\n"],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("verb", ["set", "add", "remove"])
def test_a_header_of_requests_that_no_rule_changes(name, verb):
    rules = HeaderRules(**{verb: (name,) if verb == "remove" else {name: "x"}})
    assert f"request_headers.{verb}" in only(route_errors(request_headers=rules))


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Content-Encoding", "Set-Cookie",
     "Location", "X-Request-ID", "Clear-Site-Data", "Alt-Svc", "Service-Worker-Allowed", "NEL", "Date",
     "Strict-Transport-Security", "Sec-WebSocket-Accept", "Refresh", "X_A", "X-A\r\nB"],
    ids=ascii,
)  # fmt: skip
def test_a_header_of_responses_that_no_rule_sets(name):
    assert "response_headers.set" in only(route_errors(response_headers=HeaderRules(set={name: "x"})))


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: x=y", "a\nb", "a\x00", " a", "a ", "", "\u00e9", "a" * 4001], ids=ascii
)
def test_a_value_that_could_end_its_header(value):
    for field in ("request_headers", "response_headers"):
        assert "visible ASCII" in only(route_errors(**{field: HeaderRules(set={"X-A": value})}))


def test_one_header_has_one_rule():
    assert "named twice" in only(route_errors(request_headers=HeaderRules(set={"X-A": "1"}, remove=("x-a",))))


def test_what_identity_headers_say_no_rule_says():
    found = route_errors(identity_headers={"X-Login": "email"}, request_headers=HeaderRules(set={"x-login": "root"}))
    assert "in identity_headers already" in only(found)


def cors(**fields):
    return route_errors(cors=Cors(**{"origins": ("https://app.test",), **fields}))


@pytest.mark.parametrize("origin", ["https://a.test", "http://localhost:3000", "https://[::1]:8443", "*"])
def test_an_origin(origin):
    assert cors(origins=(origin,)) == []


@pytest.mark.parametrize(
    "origin",
    ["null", "", "a.test", "https://a.test/", "https://A.test", "https://a.test:443", "http://a.test:80", "https://*.a.test",
     "https://u@a.test", "https://a.test#x", "ftp://a.test", "https://a.test\r\nX: y", "https://\u00e4.test", "**"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_origin(origin):
    assert "cors.origins" in only(cors(origins=(origin,)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"origins": ("*",), "credentials": True}, "any site could then act"),
        ({"origins": ("*", "https://a.test")}, "stands alone"),
        ({"origins": ()}, "at least one"),
        ({"headers": ("X-A, X-B",)}, "not the name of a header"),
        ({"headers": ("*",), "credentials": True}, "* with credentials"),
        ({"expose": ("X-A\r\n",)}, "not the name of a header"),
        ({"methods": ("get",)}, "cors.methods"),
        ({"max_age": -1}, "from 0 to"),
    ],
)
def test_cors_that_is_refused(fields, message):
    assert message in only(cors(**fields))


def test_cors_alone_says_who_may_read():
    rules = HeaderRules(set={"Access-Control-Allow-Origin": "*"})
    assert "is set by cors" in only(
        cors() + route_errors(cors=Cors(origins=("https://a.test",)), response_headers=rules)
    )


@pytest.mark.parametrize("largest", [-1, 2**51])
def test_a_body_of_impossible_size(largest):
    assert "max_body" in only(route_errors(max_body=largest))


def test_an_upstream_has_no_total_time():
    upstream = Upstream(targets=("http://a.test",), timeouts=Timeouts(total=1))
    assert only(errors(document(upstreams={"api": upstream}))).place == ("upstreams", "api", "timeouts", "total")
    assert "timeouts.total" in only(route_errors(timeouts=Timeouts(total=0)))


@pytest.mark.parametrize(
    "prefix", ["v2", "/", "/v2/", "/a//b", "/../x", "/a b", "/a%2Fb", "/x\r\nHost: evil", "/\u00e4", "/a?b"], ids=ascii
)
def test_a_prefix_that_no_service_could_get(prefix):
    assert "add_prefix" in only(route_errors(add_prefix=prefix))


@pytest.mark.parametrize(
    "host",
    ["a.test/x", "A.test", "a.test\r\nX: y", "a test", "u@a.test", "169.254.169.254", ":80", "*.a.test"],
    ids=ascii,
)
def test_a_host_that_no_service_has(host):
    assert "upstream_host" in only(route_errors(upstream_host=host))


def test_a_host_with_a_scheme_is_told_what_is_too_much():
    assert only(route_errors(upstream_host="http://a.test")).endswith(
        "only host and port; no scheme, path, query or fragment"
    )


@pytest.mark.parametrize("host", ["a.test", "a.test:8080", "[::1]:80"])
def test_a_host_for_the_service(host):
    assert route_errors(upstream_host=host) == []
    assert "has no effect" in only(route_errors(upstream_host=host, preserve_host=True))


def redirect(to="/new", upstream="", **fields):
    options = {name: fields.pop(name) for name in ("status", "keep_path", "keep_query") if name in fields}
    return route_errors(upstream=upstream, redirect=Redirect(to=to, **options), **fields)


@pytest.mark.parametrize("to", ["/new", "/", "https://a.test", "http://a.test:8080/x", "https://[::1]/", "/x?y=z#w"])
def test_where_a_route_may_lead(to):
    assert redirect(to) == []


@pytest.mark.parametrize(
    "to",
    ["", "new", "//evil.test", "///x", "/\\evil.test", "\\\\evil.test", "https:/a.test", "https://",
     "javascript:alert(1)", "data:text/html,x", "https://u:p@a.test", "https://A.test", "/x\r\nSet-Cookie: a=b", "/x y",
     "/\u00e4", "/x//y", " /x", "https://a.test\\x", "https://*.a.test", "/" + "x" * 2000, "?x", "#x"],
    ids=ascii,
)  # fmt: skip
def test_where_no_route_may_lead(to):
    assert "redirect.to" in only(redirect(to))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"upstream": "api"}, "leads to no upstream"),
        ({"status": 200}, "redirect.status"),
        ({"status": 304}, "redirect.status"),
        ({"to": "/x?y", "keep_query": True}, "nothing can be added"),
        ({"to": "/x", "keep_path": True, "paths": "as_sent"}, "could name another host"),
        ({"to": "/api"}, "leads to this route again"),
        ({"cors": "pass"}, "no service to pass"),
        ({"mcp": True}, "no MCP server"),
    ],
)
def test_redirects_that_are_refused(fields, message):
    assert message in " ".join(redirect(**fields))


def test_a_route_leads_somewhere():
    assert only(route_errors(upstream="")) == "routes.r.upstream: missing; only a route with redirect has none"
