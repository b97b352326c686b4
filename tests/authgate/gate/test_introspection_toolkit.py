"""Tokens of django-oauth-toolkit: its answers name no issuer and no subject, and an audience only where one was asked
for.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import ROOT, Gateway
from tests.support.introspecting import CLIENT_SECRET, add_issuer, change_issuer, remove_issuer
from tests.support.oauth_toolkit import MACHINE, OAuthToolkit
from tests.support.streams import wait_until
from tests.support.upstream import RecordingUpstream


def policy(target: str) -> str:
    return f"""\
version: 1
upstreams:
  api: {{targets: ["{target}"]}}
routes:
  - {{name: any,    path: /any,    access: authenticated, upstream: api}}
  - {{name: writes, path: /writes, access: authenticated, scopes: [write], upstream: api}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OAuthToolkit]:
    toolkit = OAuthToolkit()
    yield toolkit
    toolkit.stop()


@pytest.fixture(scope="module")
def gate(gateway_template: Any, session_upstream: RecordingUpstream, tmp_path_factory: Any) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("toolkit") / "data"
    with Gateway(directory, template=gateway_template, policy=policy(session_upstream.target)) as gateway:
        yield gateway.start()


@pytest.fixture
def issuer(gate: Gateway, server: OAuthToolkit) -> Iterator[str]:
    """Its slug."""
    add_issuer(gate, "toolkit", server.issuer, introspection_seconds=1, claim_mapping={"sub": "client_id"})
    yield "toolkit"
    remove_issuer(gate, "toolkit")


def answer(gate: Gateway, token: str, path: str = "/any") -> tuple[int, str]:
    got = gate.get(path, token=token)
    return got.status, got.json()["reason"] if got.status >= 400 else ""


WAYS = [("basic", ""), ("post", "/introspect/")]


@pytest.mark.parametrize(("method", "path"), WAYS, ids=["Basic, by discovery", "POST, at a given endpoint"])
def test_a_machine_is_let_in_by_its_client_id(
    gate: Gateway, server: OAuthToolkit, upstream: RecordingUpstream, issuer: str, method: str, path: str
) -> None:
    endpoint = server.issuer + path if path else ""
    change_issuer(gate, issuer, client_authentication=method, introspection_endpoint=endpoint)
    token, began = server.token("read write"), len(gate.output)
    assert answer(gate, token, "/writes") == (200, "")
    assert upstream.requests[-1].header("X-Auth-User-ID") == f"toolkit|{MACHINE}"
    me = gate.get("/auth/me", token=token).json()
    assert (me["issuer"], me["scopes"]) == (server.issuer, ["read", "write"])
    assert "issuer toolkit:" not in gate.output[began:]


def test_a_scope_that_it_lacks(gate: Gateway, server: OAuthToolkit, issuer: str) -> None:
    refused = gate.get("/writes", token=server.token("read"))
    assert (refused.status, refused.json()["reason"]) == (403, "insufficient_scope")
    assert 'scope="write"' in (refused.header("WWW-Authenticate") or "")


def test_a_token_that_is_revoked_there(gate: Gateway, server: OAuthToolkit, issuer: str) -> None:
    token = server.token()
    assert answer(gate, token) == (200, "")
    server.revoke(token)
    time.sleep(1.1)
    assert answer(gate, token) == (401, "token_inactive")


def test_an_answer_ends_with_its_token(gate: Gateway, server: OAuthToolkit, issuer: str) -> None:
    change_issuer(gate, issuer, introspection_seconds=300)
    token = server.token()
    server.expire(token, 4)
    assert answer(gate, token) == (200, "")
    time.sleep(4.1)
    assert answer(gate, token) == (401, "token_inactive")


def test_a_made_up_token(gate: Gateway, issuer: str) -> None:
    assert answer(gate, "made-up") == (401, "token_inactive")


def test_a_token_that_was_asked_for_no_service_is_refused(gate: Gateway, server: OAuthToolkit, issuer: str) -> None:
    for resource in ("", "https://elsewhere.example.com"):
        assert answer(gate, server.token(resource=resource)) == (401, "wrong_audience")


def test_a_wrong_secret_is_no_fault_of_the_caller(gate: Gateway, server: OAuthToolkit, issuer: str) -> None:
    remove_issuer(gate, issuer)
    add_issuer(gate, issuer, server.issuer, secret=CLIENT_SECRET + "!", claim_mapping={"sub": "client_id"})
    assert answer(gate, server.token()) == (503, "issuer_unavailable")
    said = "issuer toolkit: the introspection endpoint answered with 403"
    assert wait_until(lambda: said in gate.output, 5), gate.output


def test_people_have_a_username(gate: Gateway, server: OAuthToolkit, upstream: RecordingUpstream, issuer: str) -> None:
    change_issuer(gate, issuer, claim_mapping={"sub": "username"})
    assert answer(gate, server.token_of_a_person()) == (200, "")
    assert upstream.requests[-1].header("X-Auth-User-ID") == "toolkit|alice"
    assert answer(gate, server.token()) == (401, "invalid_token")


def test_the_recipe_as_printed(
    gate: Gateway, server: OAuthToolkit, upstream: RecordingUpstream, issuer: str, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "machines.md").read_text()
    [command] = re.findall(r"^manage\.py (issuer add toolkit .+)$", page, re.MULTILINE)
    secret = tmp_path / "secret.txt"
    secret.write_text(CLIENT_SECRET)
    remove_issuer(gate, issuer)
    printed = command.replace("https://as.example.com/o", server.issuer).replace("secret.txt", str(secret))
    gate.shell.command(*shlex.split(printed))
    assert answer(gate, server.token()) == (200, "")
    assert upstream.requests[-1].header("X-Auth-User-ID") == f"toolkit|{MACHINE}"
