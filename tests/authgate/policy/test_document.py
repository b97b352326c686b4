from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.policy.document import (
    Cors,
    Grant,
    HeaderRules,
    IdentityValue,
    McpRule,
    PolicyDocument,
    PolicyInvalid,
    RateLimit,
    Redirect,
    Role,
    Route,
    Timeouts,
    Upstream,
    When,
    parse_json,
    parse_stored,
    parse_yaml,
    to_json,
    to_yaml,
)

FULL = PolicyDocument(
    upstreams={
        "api": Upstream(targets=("http://a:1", "unix:/b"), timeouts=Timeouts(connect=1.5)),
        "bare": Upstream(targets=("http://b",)),
    },
    roles={"no": Role(description="ü: yes # '"), "x": Role()},
    grants=(
        Grant(role="x", when=When(authenticated=True)),
        Grant(role="x", when=When(claim="g", contains="010")),
        Grant(role="x", when=When(claim="g", contains=10)),
        Grant(role="x", when=When(claim="g", equals=False)),
        Grant(role="x", when=When(claim="g", equals="false")),
        Grant(role="x", when=When(provider="okta", claim="g", equals="false")),
        Grant(role="x", when=When(provider="okta", authenticated=True)),
    ),
    rate_limits={"l": RateLimit(rate="1/s", burst=3, per="route")},
    routes=(
        Route(name="1", path="/", access="public", upstream="api", compress=True),
        Route(name="3", path="/o", access="authenticated", redirect=Redirect(to="/n", keep_path=True)),
        Route(
            name="2", path="/x", access="roles", upstream="bare", host="a.b", match="exact", methods=("GET",),
            roles=("x", "no"), rate_limit="l", strip_prefix=True, preserve_host=True, add_prefix="/v2",
            pass_authorization=True, pass_headers=("X-Remote-User",), mcp=True,
            cors=Cors(origins=("https://a.test",), credentials=True),
            security_headers={"X-Frame-Options": "SAMEORIGIN", "Permissions-Policy": None},
            request_headers=HeaderRules(set={"X-C": "1"}, add={"X-D": "2"}, remove=("X-E",)),
            response_headers=HeaderRules(remove=("Server",)),
            identity_headers={"X-A": "email", "X-B": IdentityValue(claim="g", join=",")},
            allow=(McpRule(roles=("x",), mcp_tools=("read_*",)),),
            deny=(McpRule(mcp_tools=("drop",), mcp_methods=("resources/*",)),),
            timeouts=Timeouts(idle=0.5, response=3, total=9), max_body=7, enabled=False,
        ),
    ),
)  # fmt: skip


def errors_of(parse, text):
    with pytest.raises(PolicyInvalid) as caught:
        parse(text)
    return [str(error) for error in caught.value.errors]


def error_of(text):
    errors = errors_of(parse_yaml, text)
    assert len(errors) == 1, errors
    return errors[0]


def test_defaults_are_not_written_even_if_the_file_had_them():
    said = "{targets: ['http://127.0.0.1:1']%s}"
    with_defaults = said % ", queue_timeout: 10, health: {interval: 10.0, timeout: 5, unhealthy_after: 3}"
    text = "version: 1\nupstreams: {api: %s}"
    assert to_yaml(parse_yaml(text % with_defaults)) == to_yaml(parse_yaml(text % (said % "")))


@pytest.mark.parametrize(("write", "parse"), [(to_yaml, parse_yaml), (to_json, parse_json), (to_json, parse_stored)])
def test_a_document_comes_back_exactly(write, parse):
    again = parse(write(FULL))
    assert again == FULL
    assert list(again.upstreams) == list(FULL.upstreams)


texts = st.text(max_size=20)


@given(
    st.lists(
        st.builds(
            Grant, role=texts,
            when=st.builds(When, claim=texts, equals=st.none() | texts | st.booleans() | st.integers(-(10**9), 10**9)),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_any_text_survives_yaml(grants):
    document = PolicyDocument(grants=tuple(grants))
    assert parse_yaml(to_yaml(document)) == document


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "not a policy", id="empty"),
        pytest.param("[]", "not a policy", id="list"),
        pytest.param("{}", "version: missing", id="no-version"),
        pytest.param("version: 2", "version: must be 1, not 2", id="other-version"),
        pytest.param("version: 1\nroute: []", "route: unknown key", id="unknown-section"),
        pytest.param("version: 1\nroutes: {}", "routes: must be a list", id="map-for-list"),
        pytest.param("version: 1\nroles: {user: }", "roles.user: must be a map (an empty one is {})", id="no-value"),
        pytest.param("version: 1\nroles: {a: {descripton: x}}", "roles.a.descripton: unknown key", id="misspelt"),
        pytest.param("version: 1\nroles: {1: {}}", "line 2, column 9: a key must be text", id="number-key"),
        pytest.param("version: 1\nroles: {a: {}, a: {}}", "line 2, column 16: the key 'a' is given twice", id="dup"),
        pytest.param("version: 1\na: &x 1", "line 2, column 4: anchors are not allowed", id="anchor"),
        pytest.param("version: 1\na: *x", "line 2, column 4: aliases are not allowed", id="alias"),
        pytest.param("version: 1\n<<: {a: 1}", "<<: unknown key", id="merge"),
        pytest.param("a: !!python/object/apply:os.system [x]", "tag", id="python-tag"),
        pytest.param("a: !x y", "the tag '!x' is not allowed", id="tag"),
        pytest.param("version: 1\n---\nversion: 1", "begins a second", id="two-documents"),
        pytest.param("a: [", "line 2, column 1: ", id="cut-off"),
        pytest.param("a: b\n c: d", "line 2, column 3: ", id="bad-indent"),
        pytest.param("a:\tb: c", "line 1, column", id="tab"),
        pytest.param("a:\n\t- b", "indent with spaces, never with tabs", id="indented by tabs"),
        pytest.param("a: [{name:x, b: c}]\nd: b: c", 'put a space after "name:"', id="two colons"),
        pytest.param(
            "a: {b: 1,\nc: 2\nd: 3", "the map that begins with { on this line or above has no end", id="open map"
        ),
        pytest.param("a: [1, 2\nb: 3", "the list that begins with [ on this line or above has no end", id="open list"),
        pytest.param("a: \x00", "unacceptable character", id="nul"),
        pytest.param("a: \ud800", "surrogates not allowed", id="surrogate"),
        pytest.param("[" * 100_000, "nested deeper than 20", id="deep"),
        pytest.param("a: " + "9" * 5000, "too large", id="huge-number"),
        pytest.param("{? {a: b} : c}", "a key must be text", id="map-as-key"),
    ],
)
def test_a_file_that_is_no_policy_gives_one_error_with_its_place(text, message):
    assert message in error_of(text)


ROUTE = "{name: r, path: /, access: public, upstream: u%s}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (", acess: x", "routes.r.acess: unknown key; did you mean 'access'?"),
        (", match: regex", "routes.r.match: must be one of prefix, exact, not 'regex'"),
        (", roles: admin", "routes.r.roles: must be a list of texts, not 'admin'"),
        (", roles: [1]", "routes.r.roles: must be a list of texts, not [1]"),
        (", enabled: yes", "routes.r.enabled: must be true or false, not 'yes'"),
        (", enabled: 0", "routes.r.enabled: must be true or false, not 0"),
        (", host: 1.5", "routes.r.host: must be text, not 1.5"),
        (", timeouts: {connect: soon}", "routes.r.timeouts.connect: must be a number, not 'soon'"),
        (
            ", timeouts: {all: 5}",
            "routes.r.timeouts.all: unknown key; the keys here are connect, response, idle, total",
        ),
    ],
)
def test_a_misfit_in_a_route_is_named_by_the_route(fields, message):
    assert error_of("version: 1\nroutes: [" + ROUTE % fields + "]") == message


def test_every_misfit_is_reported():
    text = "version: 1\nx: 1\nroutes: [{name: a, path: 1}, 7, {path: /}]\ngrants: [{role: a}]"
    assert errors_of(parse_yaml, text) == [
        "x: unknown key",
        "routes.a.path: must be text, not 1",
        "routes.a.access: missing",
        "routes[1]: must be a map (an empty one is {}), not 7",
        "routes[2].name: missing",
        "routes[2].access: missing",
        "grants[0].when: missing",
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("010", "010"), ("0x10", "0x10"), ("1:30", "1:30"), ("yes", "yes"), ("No", "No"), ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"), ("'7'", "7"), ("7", 7), ("-7", -7), ("true", True), ("'true'", "true"),
    ],
)  # fmt: skip
def test_a_value_is_what_is_written(written, value):
    text = f"version: 1\ngrants: [{{role: a, when: {{claim: c, equals: {written}}}}}]"
    found = parse_yaml(text).grants[0].when.equals
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("name", ['"\\e[31m\\n"', "x" * 100_000], ids=["escapes", "long"])
def test_an_error_is_one_short_printable_line(name):
    error = error_of(f"version: 1\nroles: {{{name}: 1}}")
    assert error.isprintable()
    assert len(error) < 600


def test_a_file_beyond_the_size_limit_is_refused():
    assert error_of("#" * (16 * 1024 * 1024 + 1)) == "larger than 16 MiB"


def test_an_alias_bomb_is_refused_at_once():
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    begin = time.perf_counter()
    assert "anchors are not allowed" in error_of("\n".join(lines))
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"version": 1, "version": 1}', "given twice", id="duplicate-key"),
        pytest.param('{"version": 1', "not JSON", id="cut-off"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        pytest.param('{"version": 1, "rate_limits": {"x": {"rate": "1/s", "burst": 1.5}}}', "whole number", id="type"),
        pytest.param("{}", "version: missing", id="no-version"),
    ],
)
def test_bad_json_is_refused(text, message):
    assert message in errors_of(parse_json, text)[0]


def test_a_damaged_stored_policy_says_where():
    text = to_json(FULL).replace('"access":"public"', '"access":"open"')
    assert errors_of(parse_stored, text) == ["routes.1.access: must be one of public, authenticated, roles, not 'open'"]
