"""What answers in the place of a page of the gateway's own keeps what that page keeps, and leads on."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from typing import Any

import pytest
from django.urls import URLPattern

from gateway_site.urls import urlpatterns
from proxy.server.http1.limits import Limits
from proxy.server.http2.server import guard
from tests.support import raw
from tests.support.agent import Agent
from tests.support.gateway import Gateway

SECRET = ("/auth/callback", "/auth/login", "/auth/signed-out")
QUERY = "?code=planted&state=planted&next=/planted"
PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")]
URLS = [
    *(f"/{entry.pattern}".replace("<slug:slug>", "main") for entry in urlpatterns if isinstance(entry, URLPattern)),
    "/admin/", "/admin/authgate/route/", "/auth/nothing-here", "/auth/callback/main/more",
]  # fmt: skip


def ask(gateway: Gateway, path: str, *, method: str = "GET", **options: object) -> raw.Response:
    return gateway.request(path + QUERY, method=method, headers=options.pop("headers", PAGE), **options)


OUTSIDE: dict[str, Callable[[Gateway, str], raw.Response]] = {
    "another host": lambda gateway, path: ask(gateway, path, host="other.example"),
    "an ambiguous path": lambda gateway, path: ask(gateway, f"{path}/..%2f"),
    "no HTTP": lambda gateway, path: ask(gateway, path, headers=[*PAGE, ("Transfer-Encoding", "gzip")]),
    "a header too long": lambda gateway, path: ask(gateway, path, headers=[*PAGE, ("X-Long", "x" * 20_000)]),
    "too many cookies": lambda gateway, path: ask(gateway, path, headers=[*PAGE, ("Cookie", "a=" + "x" * 20_000)]),
    "a body too large": lambda gateway, path: ask(gateway, path, method="POST", body=b"x" * 3_000_000),
    "another method": lambda gateway, path: ask(gateway, path, method="DELETE"),
    "a malformed credential": lambda gateway, path: ask(gateway, path, headers=[*PAGE, ("Authorization", "Bearer")]),
    "the page": lambda gateway, path: ask(gateway, path),
}


@pytest.mark.parametrize("path", URLS)
@pytest.mark.parametrize("refuse", OUTSIDE.values(), ids=OUTSIDE)
def test_whatever_answers_is_told_to_nobody_and_kept_nowhere(
    gateway: Gateway, refuse: Callable[[Gateway, str], raw.Response], path: str
) -> None:
    answer = refuse(gateway, path)
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-frame-options") == "DENY"
    if path not in ("/.well-known/jwks.json", "/health"):
        assert answer.header("cache-control") == "no-store"
    if path.startswith(SECRET):
        assert answer.header("referrer-policy") == "no-referrer"


@pytest.mark.parametrize("path", SECRET)
def test_also_when_the_policy_cannot_be_had(start_gateway: Callable[..., Gateway], path: str) -> None:
    gateway = start_gateway(policy=None)
    assert ask(gateway, path).header("referrer-policy") == "no-referrer"


@pytest.fixture
def locked(start_gateway: Callable[..., Gateway], start_openid_provider: Callable[..., object]) -> Iterator[object]:
    gateway = start_gateway()
    start_openid_provider(gateway)
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as lock:
        yield gateway, lock


def test_a_callback_that_meets_a_busy_database_leads_on_to_a_new_sign_in(
    locked: tuple[Gateway, sqlite3.Connection],
) -> None:
    gateway, lock = locked
    browser = Agent()
    page = browser.open(f"{gateway.url}/api/protected/deep?q=1")
    page = browser.send(page.url, "POST", form={"account": "alice"})
    while "/auth/callback" not in page.location:
        page = browser.send(page.location)
    lock.execute("BEGIN EXCLUSIVE")
    refused = browser.send(page.location)
    lock.execute("ROLLBACK")
    assert (refused.status, refused.headers["Referrer-Policy"]) == (503, "no-referrer")
    assert "code=" not in refused.text
    assert "state=" not in refused.text
    way_on = re.search(r'class="button" href="([^"]+)"', refused.text)
    assert way_on is not None
    ended = browser.open(gateway.url + unescape(way_on[1]))
    assert (ended.status, ended.url) == (200, f"{gateway.url}/api/protected/deep?q=1")


def test_an_application_that_fails_under_granian_is_answered_like_any_other() -> None:
    scope = {
        "type": "http", "http_version": "2", "method": "GET", "raw_path": b"/x", "query_string": b"",
        "headers": [(b"host", b"localhost")], "client": ("192.0.2.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise RuntimeError

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guard(application, Limits())(scope, receive, send))
    assert sent[0]["status"] == 500
    assert {(b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store")} < set(sent[0]["headers"])
    assert b"server_error" in sent[1]["body"]
