"""What clients of MCP servers learn about where to get a token (RFC 9728)."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.issuers import TokenMaker

POLICY = """\
version: 1
upstreams: {api: {targets: ["%s"]}}
roles: {admin: {}}
routes:
  - name: tools
    path: /tools/mcp
    access: authenticated
    issuers: [one]
    scopes: [read, write]
    upstream: api
    mcp: true
  - {name: admin,  path: /admins,    access: roles, roles: [admin], upstream: api, mcp: true}
  - {name: public, path: /public,    access: public, upstream: api, mcp: true}
  - {name: off,    path: /off,       access: authenticated, upstream: api, mcp: true, enabled: false}
  - {name: plain,  path: /plain,     access: authenticated, upstream: api, scopes: [read]}
  - {name: hosted, path: /,          host: mcp.test, access: authenticated, upstream: api, mcp: true}
  - {name: deep,   path: /deep,      host: deep.test, access: authenticated, upstream: api, mcp: true}
  - {name: other,  path: /,          host: other.test, access: public, upstream: api}
"""
WELL_KNOWN = "/.well-known/oauth-protected-resource"


@pytest.fixture(scope="module")
def issuers():
    with TokenMaker() as one, TokenMaker() as two:
        yield one, two


@pytest.fixture(scope="module")
def gate(gateway_template, session_upstream, tmp_path_factory, issuers):
    data = tmp_path_factory.mktemp("resource") / "data"
    with Gateway(data, template=gateway_template, policy=POLICY % session_upstream.target) as gateway:
        issuers[0].register(gateway, "one")
        issuers[1].register(gateway, "two")
        yield gateway.start()


def test_metadata(gate, issuers):
    response = gate.get(f"{WELL_KNOWN}/tools/mcp")
    assert response.json() == {
        "resource": f"{gate.url}/tools/mcp",
        "authorization_servers": [issuers[0].url],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
    }
    assert response.header("access-control-allow-origin") == "*"
    assert response.header("content-type") == "application/json"


def test_below_a_route_is_the_route(gate):
    assert gate.get(f"{WELL_KNOWN}/tools/mcp/sse").json()["resource"] == f"{gate.url}/tools/mcp"


def test_a_route_without_issuers_takes_all(gate, issuers):
    described = gate.get(f"{WELL_KNOWN}/admins").json()
    assert described["authorization_servers"] == [issuer.url for issuer in issuers]
    assert "scopes_supported" not in described


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/public", "/off", "/plain", "/tools", "/tools/mcpx"])
def test_what_has_no_metadata(gate, path):
    assert gate.get(f"{WELL_KNOWN}{path}").status == 404


@pytest.mark.parametrize(
    ("host", "path", "resource"),
    [
        ("mcp.test", "", "http://mcp.test/"),
        ("mcp.test:8080", "", "http://mcp.test:8080/"),
        ("mcp.test", "/x", "http://mcp.test/"),
        ("deep.test", "/deep", "http://deep.test/deep"),
        ("deep.test", "", "http://deep.test/deep"),
    ],
)
def test_on_a_host_of_its_own(gate, upstream, host, path, resource):
    described = gate.request(f"{WELL_KNOWN}{path}", host=host).json()
    assert described["resource"] == resource
    assert upstream.requests == []


def test_a_service_without_mcp_keeps_the_path(gate, upstream):
    assert gate.request(f"{WELL_KNOWN}/x", host="other.test").json() == {"ok": True}
    assert upstream.only.path == f"{WELL_KNOWN}/x".encode()


def test_preflight(gate):
    response = gate.request(f"{WELL_KNOWN}/tools/mcp", method="OPTIONS")
    assert (response.status, response.header("access-control-allow-origin")) == (204, "*")
    assert response.header("access-control-allow-headers") == "MCP-Protocol-Version"


def challenge(gate, path, *, token=None, host=None):
    response = gate.request(path, method="POST", token=token, host=host, headers=[("Content-Type", "application/json")])
    return response.status, response.header("www-authenticate")


def test_challenges_name_the_metadata(gate, issuers):
    at = f'resource_metadata="{gate.url}{WELL_KNOWN}'
    assert challenge(gate, "/tools/mcp") == (401, f'Bearer realm="authgate", scope="read write", {at}/tools/mcp"')
    status, said = challenge(gate, "/tools/mcp", token=issuers[0].access_token(scope="read"))
    assert status == 403
    assert said.startswith('Bearer realm="authgate", error="insufficient_scope"')
    assert said.endswith(f', scope="read write", {at}/tools/mcp"')
    status, said = challenge(gate, "/admins", token=gate.mint("alice"))
    assert (status, said.endswith(f', {at}/admins"')) == (403, True)
    assert challenge(gate, "/", host="mcp.test") == (
        401, f'Bearer realm="authgate", resource_metadata="http://mcp.test{WELL_KNOWN}"',
    )  # fmt: skip


def test_other_routes_name_none(gate):
    assert challenge(gate, "/plain") == (401, 'Bearer realm="authgate"')
