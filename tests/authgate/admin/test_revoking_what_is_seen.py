"""From a line of the access log to a token that is refused, by hand in the admin of a running gateway."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

import pytest

from tests.support.gateway import Gateway

PASSWORD = "a password of the tests"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
BOTH_SERVERS = pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])


class Operator:
    """Who is signed in to /admin/ of this gateway, and sends its forms."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._cookies = gateway, {}
        self.save("/admin/login/", username="root", password=PASSWORD, next="/admin/")

    def save(self, path: str, **fields: str) -> None:
        page = self._request(path, "GET")
        [token] = set(re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', page.text))
        answer = self._request(path, "POST", urlencode({"csrfmiddlewaretoken": token, **fields}).encode())
        assert answer.status == 302, answer.text

    def _request(self, path, method, body=None):
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = [FORM, ("Origin", self._gateway.url), *([("Cookie", cookies)] if cookies else [])]
        answer = self._gateway.request(path, method=method, headers=headers, body=body)
        pairs = (line.partition(";")[0].partition("=") for line in answer.all("set-cookie"))
        self._cookies |= {name: value for name, _, value in pairs}
        return answer


@BOTH_SERVERS
def test_a_jti_in_the_log_is_revoked_in_the_admin_and_its_token_is_refused(start_gateway, args):
    gateway = start_gateway(args=args, env={"DJANGO_SUPERUSER_PASSWORD": PASSWORD})
    gateway.manage("createsuperuser", "--noinput", "--username=root", "--email=root@example.com")
    stolen, other = gateway.mint("alice"), gateway.mint("bob")
    assert gateway.get("/api/protected/seen", token=stolen).status == 200
    [line] = gateway.log_lines(wait_for=1, path="/api/protected/seen")
    Operator(gateway).save("/admin/authgate/revokedtoken/add/", jti=line["jti"], reason="seen in the log")
    gateway.settle()
    answer = gateway.get("/api/protected/after", token=stolen)
    assert (answer.status, json.loads(answer.body)["reason"]) == (401, "token_revoked")
    assert gateway.get("/api/protected/other", token=other).status == 200


def test_the_printed_jti_is_that_of_the_log(gateway):
    minted = gateway.run("mint_token", "alice", "--ttl", "60")
    printed = re.search(r"^jti (\S+), expires \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", minted.stderr, re.MULTILINE)
    assert printed, minted.stderr
    gateway.get("/api/protected/printed", token=minted.stdout.splitlines()[0])
    [line] = gateway.log_lines(wait_for=1, path="/api/protected/printed")
    assert (line["jti"], line["status"]) == (printed[1], 200)


def test_only_what_was_verified_is_named(gateway):
    token = gateway.mint("alice")
    for path, sent in (("/api/protected/none", None), ("/api/protected/forged", token[:-8] + "AAAAAAAA")):
        gateway.get(path, token=sent)
        [line] = gateway.log_lines(wait_for=1, path=path)
        assert (line["status"], line["jti"]) == (401, None)


def test_a_token_that_is_known_and_refused_is_named(gateway):
    gateway.get("/api/admin/refused", token=gateway.mint("alice"))
    [line] = gateway.log_lines(wait_for=1, path="/api/admin/refused")
    assert (line["reason"], line["sub"]) == ("missing_role", "alice")
    assert line["jti"]
