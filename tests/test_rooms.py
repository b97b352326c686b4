"""Which rooms may touch what, where an import alone does not tell: everybody may import `authgate.models`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
POLICY_ROWS = {"Upstream", "Route", "Role", "RoleGrant", "RateLimit", "PolicyRevision"}
# What serves requests runs revisions; rows are for those who edit, compile and list them.
TOUCH_POLICY_ROWS = {
    "authgate/policy/compiler.py", "authgate/policy/rows.py",
    "authgate/state/snapshot.py", "authgate/policy/revisions.py",
    "authgate/policy/listing.py", "authgate/management/commands/policy.py", "authgate/templatetags/authgate_admin.py",
    "gateway_site/demo/data.py", "gateway_site/demo/traces.py",
}  # fmt: skip


def imported_models(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.name for node in imports if (node.module or "").startswith("authgate.models") for alias in node.names}


def test_only_who_edits_compiles_and_lists_the_policy_touches_its_rows():
    modules = [path for room in ("authgate", "proxy", "gateway_site") for path in (ROOT / room).rglob("*.py")]
    touching = {str(path.relative_to(ROOT)) for path in modules if imported_models(path) & POLICY_ROWS}
    beside_admin = {name for name in touching if not name.startswith(("authgate/admin/", "authgate/models/"))}
    assert beside_admin == TOUCH_POLICY_ROWS
