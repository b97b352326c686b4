"""What the tests of the admin start from."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from authgate.policy import revisions
from authgate.policy.document import parse_yaml
from authgate.policy.powers import Machine

POLICY = """\
version: 1
upstreams:
  api: {targets: ["http://127.0.0.1:8080"]}
  wiki: {targets: ["http://10.0.0.5:3000", "http://10.0.0.6:3000"], timeouts: {connect: 2}}
roles:
  admin: {description: "May use the admin endpoints"}
  user: {}
  unused: {}
grants:
  - {role: user, when: {authenticated: true}}
  - {role: admin, when: {claim: groups, contains: platform-admins}}
  - {role: admin, when: {claim: level, equals: 7}}
rate_limits:
  api: {rate: 10/s, burst: 20, per: client}
routes:
  - {name: public,    path: /api/public,    access: public,        upstream: api, rate_limit: api}
  - {name: protected, path: /api/protected, access: authenticated, upstream: api}
  - {name: admin,     path: /api/admin,     access: roles, roles: [admin], upstream: api}
  - {name: wiki, host: wiki.example.com, path: /, access: authenticated, upstream: wiki}
"""


def publish(text: str = POLICY) -> None:
    revisions.replace(parse_yaml(text), Machine("tests"), "the beginning")


def form_values(client: Client, url: str) -> dict[str, Any]:
    """What a browser would send if the form at `url` were saved unchanged."""
    form = client.get(url).context["adminform"].form
    values: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if value is True:
            values[bound.name] = "on"
        elif value is not False and value not in (None, ""):
            values[bound.name] = [getattr(v, "pk", v) for v in value] if isinstance(value, list) else value
    return values


def sign_in(client: Client) -> Client:
    """As an administrator, without the time that hashing a password takes."""
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client
