"""Proofs behind a load balancer: they are for the address that the client sees, as the load balancer says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dpop import Holder
from tests.support.gateway import Gateway
from tests.support.issuers import TokenMaker
from tests.support.policies import demo_policy
from tests.support.upstream import RecordingUpstream

HOLDER = Holder()
PUBLIC = "https://gateway.example.com"
PATH = "/api/protected"


@pytest.fixture(scope="module")
def gate(
    gateway_template: Any, session_upstream: RecordingUpstream, tmp_path_factory: Any
) -> Iterator[tuple[Gateway, str]]:
    env = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1", "AUTHGATE_PUBLIC_URL": PUBLIC}
    directory, text = tmp_path_factory.mktemp("proxied") / "data", demo_policy(session_upstream.target)
    with (
        TokenMaker() as maker,
        Gateway(directory, template=gateway_template, policy=text, env=env) as gateway,
    ):
        maker.register(gateway, "ci", "--dpop", "required")
        yield gateway.start(), maker.access_token(cnf=HOLDER.cnf)


def ask(gate: tuple[Gateway, str], url: str, host: str = "gateway.example.com", forwarded_host: str = "") -> int:
    gateway, token = gate
    said = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    if forwarded_host:
        said["X-Forwarded-Host"] = forwarded_host
    headers = [("Authorization", f"DPoP {token}"), ("DPoP", HOLDER.proof("GET", url, token)), *said.items()]
    return gateway.request(PATH, host=host, headers=headers).status


def test_the_public_address_counts(gate: tuple[Gateway, str]) -> None:
    assert ask(gate, f"{PUBLIC}{PATH}") == 200
    assert ask(gate, f"{PUBLIC}:443{PATH}") == 200


@pytest.mark.parametrize("url", ["http://gateway.example.com", "https://127.0.0.1", f"{PUBLIC}:8443", "https://a.test"])
def test_no_other_one_does(gate: tuple[Gateway, str], url: str) -> None:
    assert ask(gate, f"{url}{PATH}") == 401


def test_so_does_a_host_that_is_forwarded_with_it(gate: tuple[Gateway, str]) -> None:
    assert ask(gate, f"{PUBLIC}{PATH}", host="127.0.0.1", forwarded_host="gateway.example.com") == 200
    assert ask(gate, f"https://evil.example.com{PATH}", host="evil.example.com") == 401
    evil = ask(gate, f"https://evil.example.com{PATH}", host="evil.example.com", forwarded_host="evil.example.com")
    assert evil in (400, 401)
