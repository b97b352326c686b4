"""What is wrong with the rules of a route to an MCP server."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from authgate.policy.errors import did_you_mean
from authgate.policy.mcp import TOOLS_CALL, is_pattern
from authgate.policy.schema import McpRule, PolicyDocument, Route

_MAX_RULES = 100
_MAX_PATTERNS = 500


def mcp_problems(document: PolicyDocument, route: Route) -> Iterator[tuple[str, str]]:
    """Pairs of a field and a message; the field of a rule has its index: allow.0.roles."""
    for field, rules in (("allow", route.allow), ("deny", route.deny)):
        if rules and not route.mcp:
            yield field, "has an effect only with mcp: true"
        if len(rules) > _MAX_RULES:
            yield field, f"at most {_MAX_RULES} rules"
        for index, rule in enumerate(rules):
            place = f"{field}.{index}"
            yield from ((f"{place}.roles", problem) for problem in _role_problems(document, rule.roles))
            yield from _pattern_problems(place, rule)
    for index, rule in enumerate(route.allow):
        if TOOLS_CALL in rule.mcp_methods:
            yield f"allow.{index}.mcp_methods", 'tools are allowed by mcp_tools: ["*"] for all of them'


def _role_problems(document: PolicyDocument, roles: Collection[str]) -> Iterator[str]:
    for role in roles:
        if role not in document.roles:
            yield f"unknown role {role!r}{did_you_mean(role, document.roles)}"


def _pattern_problems(place: str, rule: McpRule) -> Iterator[tuple[str, str]]:
    if not rule.mcp_tools and not rule.mcp_methods:
        yield place, "names neither mcp_tools nor mcp_methods"
    for field, patterns in (("mcp_tools", rule.mcp_tools), ("mcp_methods", rule.mcp_methods)):
        if len(patterns) > _MAX_PATTERNS:
            yield f"{place}.{field}", f"at most {_MAX_PATTERNS} names"
        for pattern in patterns:
            if not is_pattern(pattern):
                yield (
                    f"{place}.{field}",
                    f"{pattern!r} is not a name: letters, digits and _ . : / - with * for any of them, at most 128",
                )
