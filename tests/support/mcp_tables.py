"""The MCP server of the tests: `python -m tests.support.mcp_tables PORT json|events`."""

from __future__ import annotations

import sys

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("tables", log_level="ERROR")


@server.tool()
def list_tables() -> list[str]:
    """The names of all tables."""
    return ["people"]


@server.tool()
async def read_row(table: str, number: int, context: Context) -> str:
    """A row of a table, with who reads it by the gateway's word."""
    user = context.headers["x-auth-user-id"] if context.headers is not None else None
    return f"row {number} of {table}, read by {user}"


@server.tool()
def write_row(table: str) -> str:
    """Overwrite a row."""
    return f"{table} was written"


@server.resource("rows://people")
def people() -> str:
    """All rows."""
    return "alice"


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]), json_response=sys.argv[2] == "json")
