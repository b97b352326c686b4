from __future__ import annotations

import gc
import re
import timeit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.policy.document import (
    PolicyDocument,
    PolicyError,
    PolicyInvalid,
    RateLimit,
    Role,
    Route,
    Timeouts,
    Upstream,
    validate,
)
from authgate.policy.table import build_table, match_order
from authgate.reason import Reason

UPSTREAM = Upstream(targets=("http://127.0.0.1:8080",))


def document(*routes, **parts):
    parts.setdefault("upstreams", {"api": UPSTREAM})
    return PolicyDocument(roles={"admin": Role()}, routes=tuple(routes), **parts)


def route(name, path="/", **fields):
    return Route(**{"name": name, "path": path, "access": "public", "upstream": "api", **fields})


def table(*routes):
    return build_table(document(*routes))


def matched(found):
    return found.route.name if found is not None else None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api", "api"), ("/api/", "api"), ("/api/x", "api"), ("/api/x/y", "api"), ("/api/admin", "admin"),
        ("/api/admin/", "admin"), ("/api/admin/x", "admin"), ("/api/administrator", "api"), ("/api/adm", "api"),
        ("/apix", None), ("/API", None), ("/", None), ("/x/api", None), ("/api%20", None), ("/ap", None),
    ],
)  # fmt: skip
def test_a_prefix_covers_whole_segments_and_the_longest_wins(path, name):
    assert matched(table(route("api", "/api"), route("admin", "/api/admin")).match("h", path, "GET")) == name


@pytest.mark.parametrize("path", ["/api/x/", "/api/x/y", "/api/x/y/", "/api/a"])
def test_a_path_that_no_longer_route_continues_stays_with_what_it_found(path):
    assert (
        matched(table(route("root"), route("api", "/api"), route("deep", "/a/b/c/d")).match("h", path, "GET")) == "api"
    )


@pytest.mark.parametrize("path", ["/", "/x", "/x/", "/x/y/z", "/%C3%A9"])
def test_the_root_prefix_covers_everything(path):
    assert matched(table(route("root")).match("h", path, "GET")) == "root"


@pytest.mark.parametrize(
    ("path", "name"), [("/a", "exact"), ("/a/", "below"), ("/a/b", "below"), ("/a/b/c/", "slash"), ("/a/b/c", "below")]
)
def test_an_exact_path_wins_over_a_prefix_and_covers_nothing_else(path, name):
    routes = table(route("below", "/a"), route("exact", "/a", match="exact"), route("slash", "/a/b/c/", match="exact"))
    assert matched(routes.match("h", path, "GET")) == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example.com", "exact"), ("b.example.com", "wide"), ("x.b.example.com", "narrow"), ("example.com", "any"),
        ("aexample.com", "any"), ("y.x.b.example.com", "narrow"), ("example.com.evil", "any"), ("com", "any"),
        ("", "any"), (".", "any"), (".example.com", "any"), ("[::1]", "any"),
    ],
)  # fmt: skip
def test_an_exact_host_wins_over_the_longest_wildcard_over_any(host, name):
    routes = table(
        route("any"),
        route("wide", host="*.example.com"),
        route("narrow", host="*.b.example.com"),
        route("exact", host="a.example.com"),
    )
    assert matched(routes.match(host, "/x", "GET")) == name


def test_a_host_without_a_matching_route_leaves_the_request_to_looser_hosts():
    routes = table(route("any", "/x"), route("wild", "/y", host="*.test"), route("exact", "/z", host="a.test"))
    assert [matched(routes.match("a.test", path, "GET")) for path in ("/x", "/y", "/z", "/w")] == [
        "any", "wild", "exact", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "name"),
    [("GET", "read"), ("HEAD", "read"), ("POST", "write"), ("PUT", "rest"), ("get", "rest"), ("OPTIONS", "rest")],
)
def test_a_named_method_wins_over_all(method, name):
    routes = table(route("rest"), route("read", methods=("GET",)), route("write", methods=("POST",)))
    assert matched(routes.match("h", "/", method)) == name


@pytest.mark.parametrize(("method", "name"), [("POST", "long"), ("GET", "short"), ("HEAD", "short"), ("PUT", None)])
def test_a_longer_route_for_other_methods_hides_nothing(method, name):
    routes = table(route("short", "/a", methods=("GET",)), route("long", "/a/b", methods=("POST",)))
    assert matched(routes.match("h", "/a/b/c", method)) == name


def test_an_exact_route_for_other_methods_hides_nothing():
    routes = table(route("prefix", "/a"), route("exact", "/a", match="exact", methods=("POST",)))
    assert matched(routes.match("h", "/a", "GET")) == "prefix"


def test_get_routes_do_not_serve_head_in_lower_case_or_other_methods():
    routes = table(route("read", methods=("GET",)))
    assert [matched(routes.match("h", "/", method)) for method in ("head", "Head", "GETX", "", "POST")] == [None] * 5


@pytest.mark.parametrize(
    ("fields", "is_plain"),
    [
        ({"path": "/"}, True), ({"path": "/", "match": "exact"}, True), ({"path": "/a/b"}, True),
        ({"path": "/a", "match": "exact"}, True), ({"path": "/a/", "match": "exact"}, False), ({"path": "/a/B"}, False),
        ({"path": "/%C3%A9"}, True), ({"path": "/%C3%89"}, False),
    ],
)  # fmt: skip
def test_one_route_with_upper_case_or_a_slash_at_its_end_gives_ordinary_paths_a_second_spelling(fields, is_plain):
    one, other = route("one", **fields), route("other", "/other")
    assert [table(one, other).is_plain, table(other, one).is_plain] == [is_plain] * 2


def test_an_empty_table_matches_nothing():
    assert table().match("h", "/", "GET") is None


@pytest.mark.parametrize(
    ("host", "named"), [("a.test", True), ("b.a.test", False), ("x.wild.test", True), ("wild.test", False), ("", False)]
)
def test_the_table_knows_which_hosts_are_named(host, named):
    assert table(route("1", host="a.test"), route("2", host="*.wild.test"), route("3")).names_host(host) is named


def test_an_entry_has_everything_resolved():
    limits = {"l": RateLimit(rate="30/m", burst=0, per="subject")}
    upstreams = {"api": Upstream(targets=("http://a",), timeouts=Timeouts(connect=1, idle=2))}
    one = route(
        "r", "/p", access="roles", roles=("admin",), rate_limit="l", strip_prefix=True, timeouts=Timeouts(idle=9),
        pass_headers=("X-Remote-User", "x-auth-user"),
    )  # fmt: skip
    (entry,) = build_table(document(one, upstreams=upstreams, rate_limits=limits)).entries
    assert (entry.route, entry.roles, entry.upstream, entry.problem) == (one, {"admin"}, upstreams["api"], "")
    assert entry.timeouts == Timeouts(connect=1, response=60, idle=9)
    assert entry.pass_headers == {b"x-remote-user", b"x-auth-user"}
    assert (entry.limit.name, entry.limit.interval, entry.limit.burst, entry.limit.per) == ("l", 2.0, 1, "subject")


@pytest.mark.parametrize(
    ("rate", "burst", "interval", "credit"),
    [("2/s", 0, 0.5, 0.5), ("2/s", 1, 0.5, 0.5), ("30/m", 2, 2, 4), ("1/h", 3, 3600, 10800)],
)
def test_a_limit_is_ready_for_arithmetic(rate, burst, interval, credit):
    limits = {"l": RateLimit(rate=rate, burst=burst)}
    (entry,) = build_table(document(route("r", rate_limit="l"), rate_limits=limits)).entries
    assert (entry.limit.interval, entry.limit.interval_ns, entry.limit.credit_ns) == (
        interval, interval * 10**9, credit * 10**9,
    )  # fmt: skip


@pytest.mark.parametrize("rate", ["0/s", "x/s", "1/d", "1", "-1/s", ""])
def test_a_limit_nobody_validated_closes_its_route(rate):
    limits = {"l": RateLimit(rate=rate)}
    (entry,) = build_table(document(route("r", rate_limit="l"), rate_limits=limits)).entries
    assert (entry.limit, entry.reason) == (None, "route_invalid")


@pytest.mark.parametrize(("path", "walks"), [("/a", 2), ("/A", 3)])
def test_every_walk_over_the_routes_is_paced(path, walks):
    paced = []
    doc = document(route("r", path))
    build_table(doc, pace=lambda routes: paced.append(routes) or routes)
    assert paced == [doc.routes] * walks


@pytest.mark.parametrize(
    ("of_route", "of_upstream", "merged"),
    [
        ({}, {}, (5, 60, 60)), ({"connect": 1}, {}, (1, 60, 60)), ({}, {"response": 2}, (5, 2, 60)),
        ({"idle": 3}, {"idle": 3}, (5, 60, 3)), ({"idle": 3}, {"connect": 1, "idle": 4}, (1, 60, 3)),
    ],
)  # fmt: skip
def test_timeouts_are_the_routes_else_the_upstreams_else_the_default(of_route, of_upstream, merged):
    upstreams = {"api": Upstream(targets=("http://a",), timeouts=Timeouts(**of_upstream))}
    doc = document(route("r", timeouts=Timeouts(**of_route)), upstreams=upstreams)
    assert msgspec.structs.astuple(build_table(doc).entries[0].timeouts) == (*merged, None)


def test_routes_without_timeouts_share_the_defaults():
    one, two = table(route("one"), route("two", "/x")).entries
    assert one.timeouts is two.timeouts


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, Reason.PUBLIC), ({"access": "authenticated"}, Reason.AUTHENTICATED),
        ({"access": "roles", "roles": ("admin",)}, Reason.ROLE), ({"access": "else"}, Reason.ROUTE_INVALID),
        ({"enabled": False}, Reason.ROUTE_DISABLED), ({"upstream": "gone"}, Reason.ROUTE_INVALID),
        ({"enabled": False, "upstream": "gone"}, Reason.ROUTE_DISABLED),
    ],
)  # fmt: skip
def test_an_entry_has_the_reason_to_let_callers_in_or_to_refuse_all(fields, reason):
    assert table(route("r", **fields)).entries[0].reason is reason


def test_entries_are_told_apart_by_identity():
    one, two = (table(route("r")).entries[0] for _ in range(2))
    assert one != two
    assert len({one, two}) == 2


def test_a_disabled_route_is_matched_all_the_same():
    found = table(route("open"), route("closed", "/x", enabled=False)).match("h", "/x", "GET")
    assert (found.route.name, found.route.enabled) == ("closed", False)


@pytest.mark.parametrize(
    "fields",
    [{"upstream": "gone"}, {"rate_limit": "gone"}, {"access": "roles"}, {"access": "roles", "roles": ("gone",)}],
    ids=["upstream", "rate-limit", "no-roles", "unknown-role"],
)
def test_a_route_that_no_longer_validates_is_matched_and_marked(fields):
    doc = document(route("open"), route("bad", "/x", **fields))
    errors = validate(doc, own_hosts={"g"}, auth_prefix="/auth")
    found = build_table(doc, errors).match("h", "/x/y", "GET")
    assert found.route.name == "bad"
    assert found.problem.startswith("routes.bad.")


def test_both_routes_of_a_tie_are_marked():
    doc = document(route("one", "/x"), route("two", "/x"))
    entries = build_table(doc, validate(doc, own_hosts={"g"}, auth_prefix="/auth")).entries
    assert all(entry.problem for entry in entries)


@pytest.mark.parametrize("reported", [(), ("one",), ("two",)], ids=["nothing", "the-first", "the-second"])
def test_a_tie_that_is_not_reported_on_both_routes_fails_the_build(reported):
    errors = [PolicyError(("routes", name, "path"), "x") for name in reported]
    with pytest.raises(PolicyInvalid, match=r"^routes\.two\.path: ties with 'one'$"):
        build_table(document(route("one", "/x"), route("two", "/x")), errors)


def test_a_dangling_reference_nobody_reported_is_marked():
    assert table(route("r", upstream="gone")).entries[0].problem


def test_a_route_without_a_name_is_marked_by_its_number():
    doc = document(route("open"), route("", "/x"))
    entries = build_table(doc, validate(doc, own_hosts={"g"}, auth_prefix="/auth")).entries
    assert [entry.problem[:14] for entry in entries] == ["", "routes[1].name"]


def test_the_first_of_several_errors_marks_the_route():
    errors = [PolicyError(("routes", "r", *field), "x") for field in ((), ("path",))]
    assert build_table(document(route("r")), errors).entries[0].problem == "routes.r: x"


def test_an_error_elsewhere_marks_no_route():
    errors = [PolicyError(place, "x") for place in ((), ("routes",), ("upstreams", "api"), ("routes", "other"))]
    assert build_table(document(route("api")), errors).entries[0].problem == ""


@pytest.mark.parametrize(
    "fields",
    [{"path": "x"}, {"path": "/%40"}, {"path": "/a/"}, {"host": "A"}, {"methods": ("get",)}, {"methods": ("",)}],
    ids=["no-slash", "other-spelling", "trailing-slash", "host", "method", "empty-method"],
)
def test_a_route_without_a_place_fails_the_build_rather_than_leave_its_requests_to_a_looser_one(fields):
    (field,) = fields
    for name, place in (("bad", "routes.bad"), ("", "routes[1]")):
        with pytest.raises(PolicyInvalid, match=rf"^{re.escape(place)}\.{field}: "):
            table(route("open"), route(name, **{"path": "/x", **fields}))


def test_routes_are_shown_in_the_order_in_which_they_win():
    routes = [
        route("any"), route("any-named", methods=("GET",)), route("deep", "/a/b"), route("exact", "/a", match="exact"),
        route("wild", host="*.test"), route("narrow", host="*.z.test"), route("long", host="*.long-name.test"),
        route("narrowest", host="*.z.z.test"), route("host", host="z.test"), route("second", host="zz.z.test"),
        route("above", "/a"),
    ]  # fmt: skip
    assert [r.name for r in sorted(routes, key=match_order)] == [
        "host", "second", "narrowest", "long", "narrow", "wild", "exact", "deep", "above", "any-named", "any",
    ]  # fmt: skip


ONE, WILD, NARROW = "a.b.test", "*.b.test", "*.a.b.test"


@pytest.mark.parametrize(
    ("one", "two", "asked", "is_closer"),
    [
        pytest.param({"host": WILD}, {"host": ONE, "path": "/A"}, ONE, True, id="host-over-wildcard"),
        pytest.param({}, {"host": WILD, "path": "/A"}, ONE, True, id="wildcard-over-any"),
        pytest.param({"host": WILD}, {"host": NARROW, "path": "/A"}, "x.a.b.test", True, id="narrower-wildcard"),
        pytest.param({"host": ONE, "match": "exact"}, {"host": WILD, "path": "/a/", "match": "exact"}, ONE, False,
                     id="wildcard-below-host"),
        pytest.param({"host": WILD, "match": "exact"}, {"host": ONE, "path": "/a/", "match": "exact"}, ONE, True,
                     id="another-end-on-a-closer-host"),
        pytest.param({"host": WILD, "match": "exact"}, {"path": "/a/", "match": "exact"}, ONE, False,
                     id="any-below-wildcard"),
        pytest.param({"match": "exact"}, {"path": "/a/", "match": "exact"}, ONE, False, id="with-and-without-a-slash"),
        pytest.param({"path": "/strasse"}, {"path": "/Stra%C3%9Fe"}, ONE, False, id="one-longer-letter"),
        pytest.param({}, {"path": "/A"}, ONE, False, id="case-alone"),
        pytest.param({}, {"path": "/A", "match": "exact"}, ONE, True, id="exact-over-prefix"),
        pytest.param({"path": "/"}, {"path": "/A"}, ONE, True, id="longer-prefix"),
    ],
)  # fmt: skip
def test_a_route_found_by_other_letters_is_closer_by_host_then_path(one, two, asked, is_closer):
    first, second = route("one", **{"path": "/a", **one}), route("two", **two)
    for routes in ((first, second), (second, first)):
        built = table(*routes)
        path = "/a" if first.path == "/" else first.path
        entry = built.match(asked, path, "GET")
        assert matched(entry) == "one"
        assert built.has_closer(entry, asked, path, "GET") is is_closer


# --- against a reference that looks at every route ---------------------------------------------------------------
segments = st.sampled_from(["a", "b", "ab"])
paths = st.lists(segments, max_size=3).map(lambda parts: "/" + "/".join(parts))
hosts = st.sampled_from(["a.test", "b.a.test", "test", "a.b.a.test", "other"])
route_hosts = st.sampled_from(["", "a.test", "b.a.test", "*.test", "*.a.test", "test"])
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT"])
routes = st.builds(
    Route,
    name=st.uuids().map(str), path=paths, access=st.just("public"), upstream=st.just("api"), host=route_hosts,
    match=st.sampled_from(["prefix", "exact"]), methods=st.lists(methods, unique=True, max_size=2).map(tuple),
)  # fmt: skip


def naive_rank(r, host, path, method):
    """None, or what makes this route better than another: larger wins."""
    if r.host.startswith("*."):
        host_rank = (1, len(r.host)) if host.endswith(r.host[1:]) and host != r.host[1:] else None
    else:
        host_rank = {"": (0, 0), host: (2, 0)}.get(r.host)
    named = method in r.methods or (method == "HEAD" and "GET" in r.methods)
    if host_rank is None or not (named or not r.methods):
        return None
    if r.match == "exact":
        return (host_rank, 1, 0, named) if path == r.path else None
    below = path == r.path or path.startswith(r.path.rstrip("/") + "/")
    return (host_rank, 0, len(r.path), named) if below else None


def naive_match(all_routes, host, path, method):
    ranked = [(naive_rank(r, host, path, method), r.name) for r in all_routes]
    return max((pair for pair in ranked if pair[0] is not None), default=(None, None))[1]


@given(st.lists(routes, max_size=12), hosts, paths, st.sampled_from(["", "/"]), methods)
def test_matching_agrees_with_looking_at_every_route(all_routes, host, path, end, method):
    tied = {
        error.place[1]
        for error in validate(document(*all_routes), own_hosts={"g"}, auth_prefix="/auth")
        if "neither would win" in error.message
    }
    untied = [r for r in all_routes if r.name not in tied]
    path = path if path == "/" else path + end
    assert matched(table(*untied).match(host, path, method)) == naive_match(untied, host, path, method)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10))
def test_no_input_upsets_matching(host, path, method):
    routes = table(route("r", "/a/b", host="*.test"), route("x", "/a", match="exact", methods=("GET",)))
    found = routes.match(host, path, method)
    assert found is None or path.startswith("/a")


# --- speed ------------------------------------------------------------------------------------------------------
def many(count):
    return table(
        route("api", "/api/protected"), *(route(f"r{i}", f"/svc{i % 100}/v{i}", methods=("GET",)) for i in range(count))
    )


def seconds(routes, path):
    return min(timeit.repeat(lambda: routes.match("h", path, "GET"), number=2000, repeat=15)) / 2000


def test_ten_thousand_routes_match_as_fast_as_ten():
    few, lots = many(10), many(10_000)
    assert seconds(lots, "/api/protected/x") < 3 * seconds(few, "/api/protected/x")


@pytest.mark.parametrize("start", ["/", "/api/protected/", "/svc1/v1/", "/svc1/"])
def test_a_path_of_thousands_of_segments_costs_little(start):
    assert seconds(many(1000), start + "a/" * 4000) < 100e-6


def test_the_garbage_collector_does_not_walk_the_routes():
    gc.collect()
    before = len(gc.get_objects())
    routes = many(2000)
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert routes.entries[0].route.name == "api"
