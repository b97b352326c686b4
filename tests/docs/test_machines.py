"""The recipes of docs/machines.md: the command as printed, and tokens with the claims as printed."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authgate.policy.compiler import check
from authgate.policy.document import parse_yaml
from tests.support.gateway import ROOT, Gateway
from tests.support.hostile import sign, signing_key
from tests.support.introspecting import CLIENT_SECRET, IntrospectingIssuer
from tests.support.typed import write_secret
from tests.support.upstream import RecordingUpstream

PAGE = ROOT / "docs" / "machines.md"
RECIPE = re.compile(
    r"^### (.+?)\n.*?```\nmanage\.py (issuer add .+?)\n```\n```json\n(.+?)\n```\n→ `(.+?)`$", re.DOTALL | re.MULTILINE
)
PRINTED = PAGE.read_text().partition("## Recipes")[2]
RECIPES = [match.groups() for match in RECIPE.finditer(PRINTED)]
ASKING = re.findall(r"^\(umask .+\)$", PAGE.read_text(), re.MULTILINE)
KEY = signing_key(kid="recipe")


@pytest.fixture(scope="module")
def gate(gateway_template: Any, session_upstream: RecordingUpstream, tmp_path_factory: Any) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("machines")
    keys = directory / "jwks.json"
    keys.write_text(json.dumps({"keys": [KEY.jwk]}))
    policy = f"""\
version: 1
upstreams:
  api: {{targets: ["{session_upstream.target}"]}}
routes:
  - {{name: any, path: /any, access: authenticated, upstream: api}}
"""
    with Gateway(directory / "data", template=gateway_template, policy=policy) as gateway:
        for _, command, _, _ in RECIPES:
            # The keys of the test, in the place of those that the issuer publishes.
            gateway.shell.command(*shlex.split(command), "--jwks-file", str(keys))
        yield gateway.start()


def token(claims: dict[str, Any]) -> str:
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 300}
    return sign(KEY, claims | times, {"alg": "RS256", "kid": KEY.kid, "typ": "JWT"})


def test_every_recipe_is_read() -> None:
    assert len(RECIPES) == PRINTED.count("manage.py issuer add ") > 3


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe[0] for recipe in RECIPES])
def test_recipe(gate: Gateway, upstream: RecordingUpstream, recipe: tuple[str, ...]) -> None:
    _, command, example, subject = recipe
    claims = json.loads(example)
    assert gate.get("/any", token=token(claims)).status == 200
    assert upstream.requests[-1].header("X-Auth-User-ID") == subject
    for required in re.findall(r"--required-claim (\S+?)=", command):
        name = required if required in claims else required.partition(".io")[0] + ".io"
        got = gate.get("/any", token=token({**claims, name: "another"}))
        assert (got.status, json.loads(got.body)["reason"]) == (401, "claim_missing")
    got = gate.get("/any", token=token({**claims, "aud": "https://elsewhere.example.com"}))
    assert (got.status, json.loads(got.body)["reason"]) == (401, "wrong_audience")


def test_the_recipe_of_opaque_tokens(
    gate: Gateway, upstream: RecordingUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [ask, _] = ASKING
    [command] = re.findall(r"^manage\.py (issuer add as .+--strategy introspection.+)$", PAGE.read_text(), re.MULTILINE)
    secret = tmp_path / "secret.txt"
    monkeypatch.chdir(tmp_path)
    write_secret(ask, CLIENT_SECRET)
    with IntrospectingIssuer() as asked:
        printed = command.replace("https://as.example.com", asked.url).replace("secret.txt", str(secret))
        gate.shell.command(*shlex.split(printed))
        assert gate.get("/any", token=asked.grant("opaque")).status == 200
        assert upstream.requests[-1].header("X-Auth-User-ID") == "as|robot"
        assert gate.get("/any", token="nobody-has-granted-this").status == 401


@pytest.mark.parametrize("command", ASKING, ids=["secret", "poll token"])
def test_a_secret_is_asked_for_and_readable_by_its_owner_alone(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_secret(command, "s3cr3t")


def test_routes_and_grants_of_the_page_are_a_policy() -> None:
    grants, routes = re.findall(r"```yaml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    rest = "version: 1\nupstreams: {api: {targets: ['http://127.0.0.1:1']}}\nroles: {deployer: {}, reader: {}}\n"
    assert check(parse_yaml(rest + grants + routes)) == []
