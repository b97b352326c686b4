"""A client of the management API: JSON in, JSON out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import Gateway

V1 = "/auth/api/v1"
CSRF = "c" * 32
# Run in the gateway's own environment: a local account, and the cookie of somebody who signed in with its password.
_SIGN_IN = """
from django.contrib.auth.models import Permission, User
from django.test import Client
name, is_superuser, permissions = {arguments!r}
account, _ = User.objects.get_or_create(username=name, defaults=dict(is_staff=True, is_superuser=is_superuser))
account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
client = Client()
client.force_login(account)
print(client.cookies["authgate_admin"].value)
"""


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def etag(self) -> str:
        return self.headers["etag"]

    @property
    def fields(self) -> list[str]:
        """Those that a problem names."""
        assert self.headers["content-type"] == "application/problem+json", self
        return [error["field"] for error in self.body.get("errors", [])]


def with_api(policy: str) -> str:
    """With a role that opens the API, one that opens /admin/, and what only a superuser may change about them."""
    roles = "roles:\n  robot: {admin: api}\n  boss: {admin: superuser}"
    return policy.replace("roles:", roles, 1)


def account(gateway: Gateway, name: str, *permissions: str, is_superuser: bool = False) -> Rest:
    """An operator in a browser, with a local account."""
    arguments = (name, is_superuser, permissions)
    key = gateway.shell.run(_SIGN_IN.format(arguments=arguments)).strip()
    return Rest(gateway, headers={"cookie": f"authgate_admin={key}; authgate_csrf={CSRF}", "x-csrftoken": CSRF})


def robot(gateway: Gateway) -> Rest:
    return Rest(gateway, gateway.mint("ci", roles=("robot",)))


@dataclass
class Rest:
    """With a token of the role `robot`, or without any credential but `headers`."""

    gateway: Gateway
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = {"content-type": "application/json"} if body is not None else {}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        sent |= self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        raw_body = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        target = path if path.startswith("/auth") else V1 + path
        answer = self.gateway.request(target, method=method, headers=list(sent.items()), body=raw_body or None)
        values = dict(answer.headers)
        is_json = "json" in values.get("content-type", "")
        return Reply(answer.status, values, json.loads(answer.body) if is_json and answer.body else answer.body)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("PUT", path, body, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Reply:
        return self.ask("DELETE", path, **headers)
