from __future__ import annotations

import pytest

from authgate.policy.document import McpRule, PolicyInvalid, parse_yaml, to_yaml, validate
from authgate.policy.mcp import ToolRules

ANALYST, ADMIN, NOBODY = frozenset({"analyst"}), frozenset({"admin", "user"}), frozenset()


def rules(allow=(), deny=()):
    return ToolRules([McpRule(**rule) for rule in allow], [McpRule(**rule) for rule in deny])


READERS = {"roles": ("analyst",), "mcp_tools": ("read_*", "list_tables")}


@pytest.mark.parametrize(
    ("allow", "deny", "roles", "tool", "may"),
    [
        pytest.param([], [], NOBODY, "drop", True, id="no rules: whoever the route lets in"),
        pytest.param([READERS], [], ANALYST, "read_row", True, id="a pattern"),
        pytest.param([READERS], [], ANALYST, "list_tables", True, id="a name"),
        pytest.param([READERS], [], ANALYST, "list_tables2", False, id="a name is not a prefix"),
        pytest.param([READERS], [], ANALYST, "x_read_row", False, id="a pattern begins at the beginning"),
        pytest.param([READERS], [], ANALYST, "Read_row", False, id="allowed in no other case"),
        pytest.param([READERS], [], ANALYST, "drop", False, id="not named"),
        pytest.param([READERS], [], ADMIN, "read_row", False, id="another role"),
        pytest.param([READERS], [], NOBODY, "read_row", False, id="no role"),
        pytest.param([{"mcp_tools": ("read_*",)}], [], NOBODY, "read_row", True, id="a rule for everybody"),
        pytest.param([READERS, {"roles": ("admin",), "mcp_tools": ("*",)}], [], ADMIN, "drop", True, id="second rule"),
        pytest.param([], [{"mcp_tools": ("drop*",)}], ADMIN, "drop_all", False, id="denied"),
        pytest.param([], [{"mcp_tools": ("drop*",)}], ADMIN, "DROP_all", False, id="denied in any case"),
        pytest.param([], [{"mcp_tools": ("Drop",)}], ADMIN, "drop", False, id="denied in any case of the rule"),
        pytest.param([], [{"mcp_tools": ("drop*",)}], ADMIN, "read", True, id="not denied"),
        pytest.param([], [{"roles": ("analyst",), "mcp_tools": ("*",)}], ADMIN, "read", True, id="denied to others"),
        pytest.param([{"mcp_tools": ("*",)}], [{"mcp_tools": ("drop",)}], ADMIN, "drop", False, id="deny wins"),
        pytest.param([], [{"mcp_methods": ("tools/call",)}], ADMIN, "read", False, id="denied by method"),
        pytest.param([], [{"mcp_methods": ("*",)}], ADMIN, "read", False, id="denied by all methods"),
        pytest.param([{"mcp_methods": ("*",)}], [], ADMIN, "read", False, id="methods allow no tool"),
        pytest.param([{"mcp_tools": ("a.b",)}], [], ADMIN, "axb", False, id="a dot is a dot"),
        pytest.param([{"mcp_tools": ("a*b*c",)}], [], ADMIN, "a1b2c", True, id="two stars"),
    ],
)  # fmt: skip
def test_tools(allow, deny, roles, tool, may):
    assert rules(allow, deny).may_call(roles, tool) is may


@pytest.mark.parametrize(
    ("allow", "deny", "method", "may"),
    [
        pytest.param([], [], "resources/read", True, id="no rules"),
        pytest.param([READERS], [], "initialize", True, id="the protocol"),
        pytest.param([READERS], [], "tools/list", True, id="the list"),
        pytest.param([READERS], [], "resources/read", False, id="what else is not named"),
        pytest.param([READERS], [], "unknown/method", False, id="what nobody knows"),
        pytest.param([{"mcp_methods": ("resources/*",)}], [], "resources/read", True, id="named"),
        pytest.param([], [{"mcp_methods": ("resources/*",)}], "resources/read", False, id="denied"),
        pytest.param([], [{"mcp_methods": ("resources/*",)}], "RESOURCES/read", False, id="denied in any case"),
        pytest.param([READERS], [{"mcp_methods": ("*",)}], "initialize", False, id="all denied"),
        pytest.param([], [{"mcp_tools": ("*",)}], "resources/read", True, id="tools deny no method"),
    ],
)  # fmt: skip
def test_methods(allow, deny, method, may):
    assert rules(allow, deny).may_use(ANALYST, method) is may


def test_a_pattern_of_many_stars_takes_no_time():
    assert not rules([{"mcp_tools": ("*a" * 60,)}]).may_call(ANALYST, "a" * 59 + "b" * 69)


POLICY = """\
version: 1
upstreams: {api: {targets: ["http://127.0.0.1:1"]}}
roles: {analyst: {}}
routes:
  - {name: tools, path: /mcp, access: authenticated, upstream: api%s}
"""


NAMES = ": letters, digits and _ . : / - with * for any of them, at most 128"


def problems(keys):
    return [
        str(error) for error in validate(parse_yaml(POLICY % keys), own_hosts=["gateway.test"], auth_prefix="/auth")
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (", mcp: true, allow: [{roles: [analyst], mcp_tools: [x]}]", None),
        (", allow: [{mcp_tools: [x]}]", "allow: has an effect only with mcp: true"),
        (", deny: [{mcp_tools: [x]}]", "deny: has an effect only with mcp: true"),
        (", mcp: true, allow: [{roles: [analist], mcp_tools: [x]}]",
         "allow[0].roles: unknown role 'analist'; did you mean 'analyst'?"),
        (", mcp: true, allow: [{mcp_tools: [x]}, {roles: [analyst]}]",
         "allow[1]: names neither mcp_tools nor mcp_methods"),
        (", mcp: true, deny: [{mcp_tools: ['a b']}]", "deny[0].mcp_tools: 'a b' is not a name" + NAMES),
        (", mcp: true, deny: [{mcp_tools: ['[a]']}]", "deny[0].mcp_tools: '[a]' is not a name" + NAMES),
        (", mcp: true, allow: [{mcp_methods: [tools/call]}]",
         "allow[0].mcp_methods: tools are allowed by mcp_tools: [\"*\"] for all of them"),
        (", mcp: true, deny: [{mcp_methods: [tools/call]}]", None),
    ],
)  # fmt: skip
def test_problems_name_their_place(keys, said):
    assert problems(keys) == ([] if said is None else [f"routes.tools.{said}"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (", mcp: true, allow: [{tools: [x]}]", "routes.tools.allow[0].tools: unknown key"),
        (", mcp: true, allow: [x]", "routes.tools.allow[0]: must be a map (an empty one is {}), not 'x'"),
        (", mcp: true, allow: [{mcp_tools: x}]", "routes.tools.allow[0].mcp_tools: must be a list of texts, not 'x'"),
        (", mcp: true, allow: x", "routes.tools.allow: must be a list of maps, not 'x'"),
    ],
)
def test_faults_of_shape_name_their_place(keys, said):
    with pytest.raises(PolicyInvalid) as caught:
        parse_yaml(POLICY % keys)
    assert any(str(error).startswith(said) for error in caught.value.errors), caught.value


def test_rules_survive_the_file():
    document = parse_yaml(POLICY % ", mcp: true, allow: [{roles: [analyst], mcp_tools: ['read_*']}]")
    assert document.routes[0].allow == (McpRule(roles=("analyst",), mcp_tools=("read_*",)),)
    assert parse_yaml(to_yaml(document)) == document
