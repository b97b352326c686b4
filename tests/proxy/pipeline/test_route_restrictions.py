"""Each restriction of a route denies by itself, and where a request goes is what the policy matched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.upstream import RecordingUpstream

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}, other: {targets: ["%s"]}}
roles: {admin: {}, staff: {}}
grants:
  - {role: staff, when: {claim: groups, contains: staff}}
rate_limits: {once: {rate: 1/h, burst: 1, per: route}}
routes:
  - {name: host,     path: /host,     access: public, upstream: api, host: only.test}
  - {name: wildcard, path: /wildcard, access: public, upstream: api, host: "*.only.test"}
  - {name: methods,  path: /methods,  access: public, upstream: api, methods: [PUT]}
  - {name: exact,    path: /exact,    access: public, upstream: api, match: exact}
  - {name: known,    path: /known,    access: authenticated, upstream: api}
  - {name: roles,    path: /roles,    access: roles, roles: [admin], upstream: api}
  - {name: granted,  path: /granted,  access: roles, roles: [staff], upstream: api}
  - {name: off,      path: /off,      access: public, upstream: api, enabled: false}
  - {name: limited,  path: /limited,  access: public, upstream: api, rate_limit: once}
  - {name: wide,     path: /wide,            access: public, upstream: api}
  - {name: deep,     path: /wide/deep,       access: public, upstream: other}
  - {name: deeper,   path: /wide/deep/er,    access: public, upstream: api}
  - {name: point,    path: /wide/deep/point, access: public, upstream: api, match: exact}
  - {name: write,    path: /wide,            access: public, upstream: other, methods: [POST]}
  - {name: hosted,   path: /wide, host: h.test,     access: public, upstream: other}
  - {name: tenants,  path: /wide, host: "*.h.test", access: public, upstream: other}
"""


@pytest.fixture(scope="module")
def other() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gate(gateway_template: Path, session_upstream, other, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("policy") / "data"
    policy = POLICY % (session_upstream.target, other.target)
    # Nobody listens there: whoever takes the environment's proxy reaches no upstream (requests, urllib3).
    nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    with Gateway(data, template=gateway_template, policy=policy, env=nowhere) as gateway:
        yield gateway.start()


def ask(gate: Gateway, path: str, *, mint: dict | None = None, **options):
    token = gate.mint("alice", **mint) if mint is not None else None
    return gate.request(path, token=token, **options)


FIELDS = {
    "host": ("/host", {"host": "only.test"}, {"host": "x.only.test"}, 404),
    "wildcard": ("/wildcard", {"host": "x.only.test"}, {"host": "only.test"}, 404),
    "methods": ("/methods", {"method": "PUT"}, {"method": "POST"}, 404),
    "authenticated": ("/known", {"mint": {}}, {}, 401),
    "audience": ("/known", {"mint": {}}, {"mint": {"audience": "other"}}, 401),
    "roles": ("/roles", {"mint": {"roles": ("admin",)}}, {"mint": {"roles": ("staff",)}}, 403),
    "case of a role": ("/roles", {"mint": {"roles": ("admin",)}}, {"mint": {"roles": ("Admin",)}}, 403),
    "grant": (
        "/granted",
        {"mint": {"claims": {"groups": '["staff"]'}}},
        {"mint": {"claims": {"groups": '["st"]'}}},
        403,
    ),
}


@pytest.mark.parametrize(("path", "enough", "lacking", "status"), FIELDS.values(), ids=FIELDS.keys())
def test_each_restriction_denies_by_itself(gate, upstream, path, enough, lacking, status):
    """CVE-2021-21411"""
    assert ask(gate, path, **lacking).status == status
    assert upstream.requests == []
    assert ask(gate, path, **enough).status == 200


@pytest.mark.parametrize("path", ["/exact/", "/exact/x", "/exac", "/exactly"])
def test_an_exact_path_denies_all_others(gate, upstream, path):
    assert (ask(gate, path).status, ask(gate, "/exact").status) == (404, 200)
    assert upstream.only.path == b"/exact"


def test_a_proxy_in_the_environment_is_not_used(gate, upstream):
    assert ask(gate, "/wide").status == 200
    assert upstream.only.target == b"/wide"


def test_a_route_that_is_off_denies(gate, upstream):
    assert ask(gate, "/off").status == 404
    assert upstream.requests == []


def test_a_rate_limit_denies(gate, upstream):
    assert [ask(gate, "/limited").status for _ in range(3)] == [200, 429, 429]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("path", "options", "route", "goes_to_other"),
    [
        ("/wide", {}, "wide", False),
        ("/wide/x", {}, "wide", False),
        ("/wide/deepest", {}, "wide", False),
        ("/wide/deep", {}, "deep", True),
        ("/wide/d%65ep/x", {}, "deep", True),
        ("/wide/deep/", {}, "deep", True),
        ("/wide/deep/er", {}, "deeper", False),
        ("/wide/deep/point", {}, "point", False),
        ("/wide/x", {"method": "POST"}, "write", True),
        ("/wide/deep/er", {"method": "POST"}, "deeper", False),
        ("/wide/x", {"host": "h.test"}, "hosted", True),
        ("/wide/deep/er", {"host": "H.test."}, "hosted", True),
        ("/wide/deep/er", {"host": "a.b.h.test"}, "tenants", True),
        ("/wide/deep", {"host": "xh.test"}, "deep", True),
        ("/wide/deep/er?/wide/deep", {}, "deeper", False),
    ],
)
def test_the_upstream_is_that_of_the_route_which_decided(gate, upstream, other, path, options, route, goes_to_other):
    """CVE-2023-33189"""
    other.clear()
    response = ask(gate, path, **options)
    (line,) = gate.log_lines(wait_for=1, request_id=response.header("x-request-id"))
    assert (response.status, line["route"], line["decision"]) == (200, route, "allow")
    assert (len(upstream.requests), len(other.requests)) == ((0, 1) if goes_to_other else (1, 0))


def test_a_slash_more_does_not_turn_an_exact_route_into_a_looser_one(gate, upstream, other):
    other.clear()
    assert ask(gate, "/wide/deep/point/").json()["reason"] == "bad_target"
    assert (upstream.requests, other.requests) == ([], [])
