"""Policies that tests share."""

from __future__ import annotations


def demo_policy(target: str) -> str:
    """The three routes of the contract's example; `admin` comes from the group, `user` with any identity."""
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
roles:
  admin: {{description: "May use the admin endpoints"}}
  user: {{}}
grants:
  - {{role: user, when: {{authenticated: true}}}}
  - {{role: admin, when: {{claim: groups, contains: platform-admins}}}}
routes:
  - {{name: public,    path: /api/public,    access: public,        upstream: api}}
  - {{name: protected, path: /api/protected, access: authenticated, upstream: api}}
  - {{name: admin,     path: /api/admin,     access: roles, roles: [admin], upstream: api}}
"""
