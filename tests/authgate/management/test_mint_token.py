from __future__ import annotations

import json
import shlex
import subprocess
import time
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from authgate.authn.tokens import Kind, verify
from authgate.policy.document import PolicyDocument, Role, Route, Upstream
from authgate.policy.powers import Machine
from authgate.policy.revisions import publish
from authgate.policy.rows import apply_document
from authgate.state.trust import load_trust
from tests.support.gateway import environment, manage

pytestmark = pytest.mark.django_db


def run(*args):
    out, err = StringIO(), StringIO()
    call_command("mint_token", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def claims_of(*args):
    out, _ = run(*args, "--quiet")
    return verify(out.strip().encode(), load_trust(), Kind.ACCESS, time.time()).all


def test_the_token_says_who_and_for_whom():
    claims = claims_of("alice", "--email", "a@b.c", "--name", "Alice A")
    assert (claims["sub"], claims["email"], claims["name"]) == ("alice", "a@b.c", "Alice A")
    assert claims["iss"] == claims["aud"] == "http://gateway.test"


@pytest.mark.parametrize(("args", "seconds"), [((), 3600), (("--ttl", "60"), 60), (("--ttl", "31622400"), 31622400)])
def test_the_time_to_live_is_an_hour_or_what_is_asked(args, seconds):
    claims = claims_of("alice", *args)
    assert claims["exp"] - claims["iat"] == seconds


def test_roles_may_be_repeated():
    assert claims_of("alice", "--role", "b", "--role", "a", "--role", "b")["roles"] == ["a", "b"]


VALUES = {
    'groups=["a","b"]': ["a", "b"], "level=3": 3, "ok=true": True, "none=null": None, "text=plain": "plain",
    "quoted=\"3\"": "3", "url=http://x/?a=b": "http://x/?a=b", "empty=": "", "nan=NaN": "NaN", "half={": "{",
}  # fmt: skip


@pytest.mark.parametrize(("option", "value"), VALUES.items(), ids=VALUES)
def test_a_claim_is_json_or_else_text(option, value):
    assert claims_of("alice", "--claim", option)[option.partition("=")[0]] == value


def test_quiet_prints_the_token_and_nothing_else():
    out, err = run("alice", "--quiet")
    assert out.count("\n") == 1 and out.endswith("\n")
    assert out.count(".") == 2 and err == ""


def test_the_jti_and_the_end_of_a_token_are_told_beside_it_where_no_script_reads():
    out, err = run("alice", "--ttl", "60")
    claims = verify(out.splitlines()[0].encode(), load_trust(), Kind.ACCESS, time.time()).all
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["exp"]))
    assert err == f"jti {claims['jti']}, expires {end}\n"
    assert claims["jti"] not in out


def test_a_role_the_policy_does_not_know_is_pointed_out_on_stderr():
    out, err = run("alice", "--role", "admn", "--quiet")
    assert out.count(".") == 2
    assert err.strip() == "warning: the policy knows no role 'admn'"


def test_a_token_for_another_audience_comes_without_a_curl_line():
    out, _ = run("alice", "--audience", "elsewhere")
    assert "curl" not in out


WRONG = {
    "no-name": [""],
    "newline": ["a\nb"],
    "nul": ["a\x00"],
    "outer-space": [" alice"],
    "long": ["a" * 201],
    "not-utf8": ["a\udcff"],
    **{
        f"ttl-{ttl}": ["alice", f"--ttl={ttl}"]
        for ttl in ("0", "-1", "1.5", "1e3", "", "x", "٣", "31622401", "9" * 5000)
    },
    "claim-no-equals": ["alice", "--claim", "groups"],
    "claim-no-name": ["alice", "--claim", "=x"],
    "claim-twice": ["alice", "--claim", "a=1", "--claim", "a=2"],
    "claim-deep": ["alice", "--claim", "a=" + "[" * 50 + "]" * 50],
    "claim-huge": ["alice", "--claim", "a=" + "x" * 20_000],
    "claim-not-utf8": ["alice", "--claim", "a=\udcff"],
    **{
        f"claim-{name}": ["alice", "--claim", f"{name}=1"] for name in ("iss", "sub", "exp", "iat", "jti", "aud", "nbf")
    },
    "claim-roles": ["alice", "--claim", 'roles=["admin"]'],
    "role-empty": ["alice", "--role", ""],
    "role-control": ["alice", "--role", "a\r\nb"],
    "email-control": ["alice", "--email", "a\nb"],
    "audience-empty": ["alice", "--audience", ""],
}


@pytest.mark.parametrize("args", WRONG.values(), ids=WRONG)
def test_bad_input_is_one_clear_line(args):
    with pytest.raises(CommandError) as error:
        run(*args)
    assert len(str(error.value)) > 10 and "\n" not in str(error.value)


def test_another_secret_is_one_clear_line(settings):
    load_trust()
    settings.SECRET_KEY = "another secret, also of 32 characters"
    with pytest.raises(CommandError, match=r"cannot be unsealed: the key in .* is not the one"):
        run("alice")


def publish_routes(*routes):
    document = PolicyDocument(
        upstreams={"api": Upstream(targets=("http://127.0.0.1:1",))}, roles={"admin": Role()},
        routes=tuple(Route(upstream="api", **route) for route in routes),
    )  # fmt: skip
    apply_document(document)
    publish(Machine("test"))


def curl_url():
    out, _ = run("alice")
    return shlex.split(out.splitlines()[-1])[-1]


UNFIT = [
    {"name": "a", "path": "/public", "access": "public"},
    {"name": "b", "path": "/off", "access": "authenticated", "enabled": False},
    {"name": "c", "path": "/elsewhere", "access": "authenticated", "host": "wiki.example.com"},
    {"name": "d", "path": "/post", "access": "authenticated", "methods": ("POST",)},
]


def test_the_curl_line_tries_a_route_that_asks_who_is_there():
    publish_routes(*UNFIT, {"name": "e", "path": "/api/admin", "access": "roles", "roles": ("admin",)})
    assert curl_url() == "http://gateway.test/api/admin"


def test_without_such_a_route_the_curl_line_asks_who_one_is():
    publish_routes(*UNFIT)
    assert curl_url() == "http://gateway.test/auth/me"


def test_the_printed_curl_line_works_as_it_is(gateway):
    out = gateway.manage("mint_token", "alice", "--role", "admin")
    command = shlex.split(out.splitlines()[-1])
    answer = subprocess.run([*command, "--silent", "--include"], capture_output=True, text=True, timeout=20, check=True)
    assert answer.stdout.startswith("HTTP/1.1 200")


def test_the_gateway_says_what_it_knows_of_the_caller(gateway):
    token = gateway.mint("alice", roles=("admin",), email="a@b.c")
    answer = gateway.get("/auth/me", token=token)
    body = json.loads(answer.body)
    assert (body["subject"], body["email"], body["credential"]) == ("alice", "a@b.c", "bearer")
    assert body["roles"] == ["admin", "user"]


def test_before_migrate_there_is_one_clear_line(tmp_path):
    result = manage(environment(tmp_path / "data"), "mint_token", "alice")
    assert result.returncode == 1
    assert "manage.py migrate" in result.stderr and "Traceback" not in result.stderr
