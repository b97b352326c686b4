"""The public MCP SDK on both sides of the gateway."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.gateway import Gateway
from tests.support.mcp_server import McpServer

POLICY = """\
version: 1
upstreams: {tables: {targets: ["%s"]}}
roles: {analyst: {}, admin: {}}
routes:
  - name: tables
    path: /mcp
    access: authenticated
    upstream: tables
    mcp: true
    allow:
      - {roles: [analyst], mcp_tools: ["read_*", list_tables]}
      - {roles: [admin], mcp_tools: ["*"], mcp_methods: ["*"]}
"""


@pytest.fixture(scope="module", params=["json", "events"])
def server(request):
    server = McpServer(request.param)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[(), ("--http2",)], ids=["callbacks", "asgi"])
def gate(request, server, gateway_template, tmp_path_factory):
    data = tmp_path_factory.mktemp("sdk") / "data"
    with Gateway(data, template=gateway_template, policy=POLICY % server.target, args=request.param) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def use(gate, role, work, mode):
    """What `work` comes to with a client of this role."""
    # Not imported by every worker of the suite: it would be a tenth of what each does before its first test.
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async def run():
        token = gate.mint("alice", roles=(role,))
        async with create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http:
            transport = streamable_http_client(f"{gate.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await work(client)

    return asyncio.run(asyncio.wait_for(run(), 60))


async def visit(client):
    from mcp import MCPError

    listed = [tool.name for tool in (await client.list_tools()).tools]
    read = (await client.call_tool("read_row", {"table": "people", "number": 7})).content[0].text
    try:
        written = (await client.call_tool("write_row", {"table": "people"})).content[0].text
    except MCPError as error:
        written = error.error.data["reason"]
    try:
        resource = (await client.read_resource("rows://people")).contents[0].text
    except MCPError as error:
        resource = error.error.data["reason"]
    return listed, read, written, resource


ROW = "row 7 of people, read by alice"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_by_role(gate, mode):
    assert use(gate, "analyst", visit, mode) == (
        ["list_tables", "read_row"], ROW, "tool_not_allowed", "mcp_method_not_allowed",
    )  # fmt: skip
    assert use(gate, "admin", visit, mode) == (
        ["list_tables", "read_row", "write_row"], ROW, "people was written", "alice",
    )  # fmt: skip
    lines = gate.log_lines(wait_for=1, mcp_tool="write_row", decision="deny")
    assert {(line["reason"], line["sub"], line["mcp_method"]) for line in lines} == {
        ("tool_not_allowed", "alice", "tools/call")
    }
    gate.log_lines(wait_for=2, mcp_tool="read_row", decision="allow", route="tables")
