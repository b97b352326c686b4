"""Who may use which tools and methods of an MCP server, by the rules of its route. Nothing here has side effects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import translate

from authgate.policy.schema import McpRule, Route

TOOLS_CALL = "tools/call"
TOOLS_LIST = "tools/list"

# Without these there is no session at all. What `allow` does not name is refused otherwise.
_OF_THE_PROTOCOL = frozenset(
    (
        "initialize", "ping", "server/discover", TOOLS_LIST, "notifications/initialized", "notifications/cancelled",
        "notifications/progress", "notifications/roots/list_changed",
    )
)  # fmt: skip
# A pattern has these characters and `*`: none that `translate` gives another meaning.
is_pattern = re.compile(r"[A-Za-z0-9_.:/*-]{1,128}").fullmatch


class _Rule:
    """One rule of a policy, ready for names."""

    __slots__ = ("_methods", "_roles", "_tools")

    def __init__(self, rule: McpRule, *, any_case: bool) -> None:
        self._roles = frozenset(rule.roles)
        self._tools = _compile(rule.mcp_tools, any_case=any_case)
        self._methods = _compile(rule.mcp_methods, any_case=any_case)

    def is_for(self, roles: Collection[str]) -> bool:
        return not self._roles or not self._roles.isdisjoint(roles)

    def names_tool(self, tool: str) -> bool:
        return self._tools is not None and self._tools.fullmatch(tool) is not None

    def names_method(self, method: str) -> bool:
        return self._methods is not None and self._methods.fullmatch(method) is not None


class ToolRules:
    """The rules of one route. `roles` are the caller's; tools and methods are names as `wire.json_rpc` reads them."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, allow: Iterable[McpRule], deny: Iterable[McpRule]) -> None:
        self._allow = [_Rule(rule, any_case=False) for rule in allow]
        # A service may take Delete_Row for delete_row: what refuses must not depend on that.
        self._deny = [_Rule(rule, any_case=True) for rule in deny]

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return not self._allow and not self._deny

    def may_call(self, roles: Collection[str], tool: str) -> bool:
        for rule in self._deny:
            if (rule.names_tool(tool) or rule.names_method(TOOLS_CALL)) and rule.is_for(roles):
                return False
        return not self._allow or any(rule.names_tool(tool) and rule.is_for(roles) for rule in self._allow)

    def may_use(self, roles: Collection[str], method: str) -> bool:
        """Of a method other than tools/call."""
        if any(rule.names_method(method) and rule.is_for(roles) for rule in self._deny):
            return False
        return (
            not self._allow
            or method in _OF_THE_PROTOCOL
            or any(rule.names_method(method) and rule.is_for(roles) for rule in self._allow)
        )


def rules_of(route: Route) -> ToolRules | None:
    """None for a route that is no MCP server."""
    return ToolRules(route.allow, route.deny) if route.mcp else None


def _compile(patterns: Collection[str], *, any_case: bool) -> re.Pattern[str] | None:
    # Each `*` is atomic in what `translate` makes, so that no name takes long to compare.
    joined = "|".join(map(translate, patterns))
    return re.compile(joined, re.IGNORECASE if any_case else 0) if joined else None
