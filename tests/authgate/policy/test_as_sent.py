"""Where the policy lets a route take paths as sent, and that no reading of such a path is another route's."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from authgate.policy.document import PolicyDocument, PolicyInvalid, Role, Route, Upstream, parse_yaml, to_yaml, validate
from authgate.policy.table import build_table
from authgate.wire.path_as_sent import path_as_sent
from authgate.wire.target import TargetRefused, canonical_path
from tests.authgate.wire.test_random_targets import paths
from tests.support.neighbours import careless_readings

OWN_HOSTS = frozenset(("gateway.test",))


def route(name, path, **fields):
    return Route(**{"name": name, "path": path, "access": "public", "upstream": "api", **fields})


def document(*routes):
    upstreams = {"api": Upstream(targets=("http://127.0.0.1:8080",))}
    return PolicyDocument(upstreams=upstreams, roles={"admin": Role()}, routes=routes)


def errors(*routes):
    return [str(error) for error in validate(document(*routes), own_hosts=OWN_HOSTS, auth_prefix="/auth")]


TAKER = route("taker", "/app", paths="as_sent")
ANY, WILD, ONE = "", "*.b.test", "a.b.test"

BELOW = {
    "below": (TAKER, route("other", "/app/admin")),
    "far below": (TAKER, route("other", "/app/a/b/c")),
    "below, another method": (TAKER, route("other", "/app/admin", methods=("PUT",))),
    "below, also as sent": (TAKER, route("other", "/app/x", paths="as_sent")),
    "below, disabled": (TAKER, route("other", "/app/x", enabled=False)),
    "below in another case": (TAKER, route("other", "/APP/x")),
    "the same in another case": (TAKER, route("other", "/App")),
    "below in another reading": (route("taker", "/app.", paths="as_sent"), route("other", "/app/admin")),
    "below in another composition": (route("taker", "/e%CC%81", paths="as_sent"), route("other", "/%C3%A9/admin")),
    "this path alone": (TAKER, route("other", "/app", match="exact")),
    "this path alone, with a slash": (TAKER, route("other", "/app/", match="exact")),
    "below on one of any hosts": (TAKER, route("other", "/app/x", host=ONE)),
    "below on a wildcard": (TAKER, route("other", "/app/x", host=WILD)),
    "below on the same wildcard": (route("taker", "/app", paths="as_sent", host=WILD),
                                   route("other", "/app/x", host=WILD)),
    "below on a host of the wildcard": (route("taker", "/app", paths="as_sent", host=WILD),
                                        route("other", "/app/x", host=ONE)),
    "below on a host far below the wildcard": (route("taker", "/app", paths="as_sent", host=WILD),
                                               route("other", "/app/x", host="d.c.a.b.test")),
    "below on a narrower wildcard": (route("taker", "/app", paths="as_sent", host="*.test"),
                                     route("other", "/app/x", host=WILD)),
    "anything below the root": (route("taker", "/", paths="as_sent", host=ONE), route("other", "/x", host=ONE)),
    "the root alone": (route("taker", "/", paths="as_sent", host=ONE), route("other", "/", match="exact", host=ONE)),
}  # fmt: skip


@pytest.mark.parametrize("routes", BELOW.values(), ids=BELOW.keys())
def test_nothing_may_lie_below_it(routes):
    for order in (routes, routes[::-1]):
        (error,) = [line for line in errors(*order) if line.startswith("routes.taker.paths: ")]
        assert "route 'other' at" in error


BESIDE = {
    "above": (TAKER, route("other", "/")),
    "beside": (TAKER, route("other", "/application")),
    "another method": (route("taker", "/app", paths="as_sent", methods=("GET",)),
                       route("other", "/app", methods=("PUT",))),
    "the same for one host": (TAKER, route("other", "/app", host=ONE)),
    "another host": (route("taker", "/app", paths="as_sent", host=ONE), route("other", "/app/x", host="c.b.test")),
    # The host's own route wins before any path is looked at.
    "below on any host": (route("taker", "/app", paths="as_sent", host=ONE), route("other", "/app/x")),
    "below on a wider wildcard": (route("taker", "/", paths="as_sent", host=ONE), route("other", "/x", host=WILD)),
}  # fmt: skip


@pytest.mark.parametrize("routes", BESIDE.values(), ids=BESIDE.keys())
def test_what_no_such_path_can_mean_may_stay(routes):
    assert errors(*routes) == []


@pytest.mark.parametrize("host", ["", "gateway.test", "*.test"])
def test_the_gateways_own_paths_may_not_lie_below_it(host):
    (error,) = errors(route("taker", "/", paths="as_sent", host=host))
    assert "gateway.test belong to the gateway itself" in error


def test_a_single_path_cannot_be_as_sent():
    (error,) = errors(route("taker", "/app", paths="as_sent", match="exact"))
    assert error.startswith("routes.taker.paths: as_sent has no effect with match: exact")


def test_a_stored_policy_with_something_below_it_closes_the_route():
    policy = document(TAKER, route("other", "/app/x", access="roles", roles=("admin",)))
    table = build_table(policy, validate(policy, own_hosts=OWN_HOSTS, auth_prefix="/auth"))
    assert table.match("any.test", "/app/a%2Fb", "GET").reason == "route_invalid"


@pytest.mark.parametrize(
    ("path", "method", "takes", "takes_stripped"),
    [
        ("/app/a%2Fb", "GET", True, True), ("/app", "GET", True, True), ("/app//b", "GET", True, False),
        ("/app%2F%2Fb", "GET", False, False), ("/app/%2Fb", "GET", True, False), ("/app/a%2Fb", "PUT", False, False),
        ("/other/a%2Fb", "GET", False, False), ("/open/a%2Fb", "GET", False, False), ("//app", "GET", False, False),
    ],
)  # fmt: skip
def test_a_path_as_sent_belongs_to_the_route_that_takes_it(path, method, takes, takes_stripped):
    fields = {"paths": "as_sent", "methods": ("GET",)}
    for strip_prefix, expected in ((False, takes), (True, takes_stripped)):
        taker = route("taker", "/app", strip_prefix=strip_prefix, **fields)
        table = build_table(document(taker, route("open", "/open")))
        assert table.takes_as_sent("any.test", path, method) == expected
        assert table.has_as_sent
    assert not build_table(document(route("open", "/open"))).has_as_sent
    root = build_table(document(route("taker", "/", strip_prefix=True, **fields)))
    assert root.takes_as_sent("any.test", path, method) == (method == "GET" and not path.startswith("//"))


def test_the_file_says_it_and_says_nothing_of_the_default():
    text = to_yaml(document(TAKER, route("other", "/x")))
    assert text.count("paths: as_sent") == 1
    assert "canonical" not in text
    assert parse_yaml(text).routes[0].paths == "as_sent"


def test_another_value_is_an_error():
    text = to_yaml(document(TAKER)).replace("as_sent", "raw")
    with pytest.raises(PolicyInvalid, match="paths"):
        parse_yaml(text)


SEGMENTS = ("/app", "/app/admin", "/admin", "/", "/App", "/app/x/y", "/a", "/a/admin", "/open")
routes = st.lists(
    st.builds(
        dict,
        path=st.sampled_from(SEGMENTS),
        host=st.sampled_from((ANY, WILD, ONE, "*.test")),
        methods=st.sampled_from(((), ("GET",), ("PUT",))),
        match=st.sampled_from(("prefix", "prefix", "exact")),
        paths=st.sampled_from(("canonical", "as_sent")),
    ),
    min_size=1,
    max_size=5,
)
tails = st.builds(lambda prefix, rest: prefix.encode() + rest, st.sampled_from(SEGMENTS), paths) | paths


@settings(max_examples=1500, deadline=None)
@given(routes, tails, st.sampled_from((ONE, "c.b.test", "other.org")), st.sampled_from(("GET", "PUT", "POST")))
def test_whoever_reads_a_path_as_sent_finds_the_same_route(fields, raw, host, method):
    policy = document(*(route(f"r{number}", **each) for number, each in enumerate(fields)))
    assume(not validate(policy, own_hosts=OWN_HOSTS, auth_prefix="/auth"))
    table = build_table(policy)
    try:
        canonical_path(raw)
        return
    except TargetRefused:
        pass
    try:
        path = path_as_sent(raw)
    except TargetRefused:
        return
    if not table.takes_as_sent(host, path, method):
        return
    entry, has_second_reading = table.find(host, path, method)
    assert not has_second_reading
    prefix = entry.route.path.rstrip("/")
    for reading in careless_readings(path) | careless_readings(unquote(path)):
        assert reading == entry.route.path or reading.startswith(f"{prefix}/"), reading
        assert table.match(host, reading, method) is entry, reading


@pytest.mark.parametrize("hidden", ["..%252f%CC%87b", "..%255c%CC%81b", "x%250a%CC%81", "%252e%CC%87%252f"])
def test_a_mark_hides_no_escape_from_who_decodes_twice(hidden: str) -> None:
    with pytest.raises(TargetRefused):
        path_as_sent(f"/a/{hidden}".encode())
