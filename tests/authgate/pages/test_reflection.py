"""What reached the gateway is told to whoever knows its secret key: for everybody else there is no such page."""

from __future__ import annotations

import json

import pytest

from tests.support.clock import Clock

ASK = "from authgate.pages.reflection import new_question; print(new_question().proof)"
PATH = "/auth/reflection"


@pytest.fixture(scope="module")
def proof(gateway):
    return gateway.shell.run(ASK).strip()


def ask(gateway, proof, *headers, **options):
    return gateway.request(PATH, headers=[("Authgate-Doctor", proof), *headers], **options)


def test_the_doctor_is_told_what_came(gateway, proof):
    answer = ask(gateway, proof, ("X-Forwarded-For", "6.6.6.6"))
    assert answer.status == 200
    seen = json.loads(answer.body)
    assert (seen["scheme"], seen["host"], seen["port"]) == ("http", "localhost", gateway.port)
    assert (seen["client"], seen["peer"], seen["is_trusted"]) == ("127.0.0.1", "127.0.0.1", False)
    assert answer.header("cache-control") == "no-store"
    assert answer.header("set-cookie") is None


def test_the_cookie_comes_back_as_the_sessions_would(gateway, proof):
    answer = ask(gateway, proof, ("Cookie", "authgate_doctor=abc"))
    assert answer.header("set-cookie").startswith("authgate_doctor=abc; ")
    assert "HttpOnly" in answer.header("set-cookie")


@pytest.mark.parametrize(
    "proof", ["", "AAAA", "é", "x" * 401, "a" * 399], ids=["none", "short", "bytes", "long", "full"]
)
def test_strangers_find_no_such_page(gateway, proof):
    assert ask(gateway, proof).status in (400, 404)
    assert gateway.get(PATH).status == gateway.get("/auth/nothing-here").status == 404


def test_a_proof_of_another_key_or_purpose_is_none(gateway):
    other = "from authgate.sealing import seal_text; print(seal_text('a 99999999999', purpose='client secret'))"
    assert ask(gateway, gateway.shell.run(other).strip()).status == 404


def test_a_proof_is_out_of_date_after_five_minutes(start_gateway, tmp_path):
    clock = Clock(tmp_path)
    gateway = start_gateway(env=clock.env)
    proof = gateway.shell.run(ASK).strip()
    assert ask(gateway, proof).status == 200
    clock.let_pass(301)
    assert ask(gateway, proof).status == 404


def test_nothing_is_changed_by_it(gateway, proof):
    assert ask(gateway, proof, method="POST").status in (403, 405)
