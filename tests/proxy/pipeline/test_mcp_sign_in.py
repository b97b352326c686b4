"""From the discovery of the authorization server to a refused tool: the public MCP SDK and oidc-provider."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.agent import Agent
from tests.support.gateway import Gateway
from tests.support.mcp_server import McpServer
from tests.support.oidc import OpenIdProvider, ProviderUnavailable

POLICY = """\
version: 1
upstreams: {tables: {targets: ["%s"]}}
roles: {analyst: {}}
grants:
  - {role: analyst, when: {provider: main, claim: scope, contains: "tables:read"}}
routes:
  - name: tables
    path: /mcp
    access: authenticated
    issuers: [main]
    scopes: ["tables:read"]
    audience: "%s"
    upstream: tables
    mcp: true
    allow:
      - {roles: [analyst], mcp_tools: ["read_*", list_tables]}
  - {name: other, path: /other, access: authenticated, audience: "%s", upstream: tables, mcp: true}
"""
REDIRECT = "http://127.0.0.1:9/callback"  # nobody listens there: the test reads the code where a browser is sent


@pytest.fixture
def server():
    server = McpServer("events")
    yield server
    server.stop()


@pytest.fixture
def world(server, gateway_template, tmp_path):
    with Gateway(tmp_path / "data", template=gateway_template) as gateway:
        resource, other = f"{gateway.url}/mcp", f"{gateway.url}/other"
        provider = OpenIdProvider(resources={resource: "tables:read tables:write"})
        try:
            provider.find()
        except ProviderUnavailable as error:
            pytest.skip(f"needs the OpenID provider: {error}")
        with provider:
            gateway.manage("policy", "import", "-", stdin=POLICY % (server.target, resource, other))
            gateway.manage(
                "issuer", "add", "main", "--issuer", provider.issuer, "--audience", resource, "--audience", other
            )
            yield gateway.start(), resource


class Memory:
    """What the client keeps."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Alice signs in at the provider."""

    def __init__(self):
        self.agent, self.arrived = Agent(), ""

    async def open(self, url):
        self.arrived = await asyncio.to_thread(self._sign_in, url)

    def _sign_in(self, url):
        page = self.agent.open(url)
        assert "Who are you?" in page.text, (page.status, page.text)
        page = self.agent.send(page.url, "POST", form={"account": "alice"})
        while page.status in (302, 303) and not page.location.startswith(REDIRECT):
            page = self.agent.send(page.location)
        assert page.status in (302, 303), (page.url, page.status, page.text)
        return page.location

    async def code(self):
        from mcp.shared.auth import AuthorizationCodeResult

        query = {name: values[0] for name, values in parse_qs(urlsplit(self.arrived).query).items()}
        return AuthorizationCodeResult(**{name: query.get(name) for name in ("code", "state", "iss")})


def test_from_discovery_to_a_refused_tool(world):
    # Not imported by every worker of the suite: it would be a tenth of what each does before its first test.
    from mcp import Client, MCPError
    from mcp.client.auth import OAuthClientProvider
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client
    from mcp.shared.auth import OAuthClientMetadata

    gateway, resource = world

    async def run():
        browser, memory = Browser(), Memory()
        auth = OAuthClientProvider(
            server_url=resource,
            client_metadata=OAuthClientMetadata(
                redirect_uris=[REDIRECT], client_name="a test", token_endpoint_auth_method="none",
                grant_types=["authorization_code"],
            ),
            storage=memory, redirect_handler=browser.open, callback_handler=browser.code,
        )  # fmt: skip
        async with (
            create_mcp_http_client(auth=auth) as http,
            Client(streamable_http_client(resource, http_client=http)) as client,
        ):
            listed = [tool.name for tool in (await client.list_tools()).tools]
            read = await client.call_tool("read_row", {"table": "people", "number": 7})
            with pytest.raises(MCPError) as refused:
                await client.call_tool("write_row", {"table": "people"})
            return listed, read.content[0].text, refused.value.error.data["reason"], memory.tokens

    listed, read, refused, tokens = asyncio.run(asyncio.wait_for(run(), 60))
    assert listed == ["list_tables", "read_row"]
    assert read == "row 7 of people, read by main|alice"
    assert (refused, tokens.scope) == ("tool_not_allowed", "tables:read")
    elsewhere = gateway.request("/other", method="POST", token=tokens.access_token, body=b"{}")
    assert (elsewhere.status, elsewhere.json()["reason"]) == (401, "wrong_audience")
    (line,) = gateway.log_lines(wait_for=1, mcp_tool="write_row")
    assert (line["sub"], line["reason"], line["credential"]) == ("main|alice", "tool_not_allowed", "bearer")
    assert gateway.log_lines(wait_for=1, reason="no_credential", status=401)
