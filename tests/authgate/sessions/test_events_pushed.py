"""Security events at a running gateway: how they are answered, and that they are in force with the answer."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile import signing_key
from tests.support.issuers import API, TokenMaker
from tests.support.oidc import add_provider
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, row
from tests.support.token_provider import CLIENT_ID, TokenProvider

REVOKED = "caep session-revoked"


@pytest.fixture(scope="module")
def idp():
    with TokenProvider() as started:
        yield started


class EventIssuer(TokenMaker, TokenProvider):
    """Of access tokens, and of events about them."""


@pytest.fixture(scope="module")
def ci():
    with EventIssuer() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, idp, ci):
    data_dir = tmp_path_factory.mktemp("events") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as started:
        add_provider(started, "idp", idp.issuer, CLIENT_ID)
        ci.register(started, "ci")
        yield started.start()


def push(gateway, token, slug="idp", media_type="application/secevent+jwt"):
    body = token if isinstance(token, bytes) else token.encode()
    return gateway.request(f"/auth/events/{slug}", method="POST", headers=[("Content-Type", media_type)], body=body)


def test_an_event_is_accepted_without_a_body_known_or_not_and_once_more(gateway, idp):
    made = make_session(gateway, "carol")
    known = idp.event(REVOKED, "carol")
    answers = [push(gateway, token) for token in (known, idp.event(REVOKED, "nobody"), known)]
    assert [(answer.status, answer.body) for answer in answers] == [(202, b"")] * 3
    assert row(gateway, made.sid)["reason"] == "session-revoked event"


def test_a_refusal_has_the_word_of_the_specification(gateway, idp):
    for token, err in ((idp.event(REVOKED, aud="other"), "invalid_audience"), ("a.b.c", "invalid_request")):
        answer = push(gateway, token)
        assert (answer.status, json.loads(answer.body)["err"]) == (400, err)


def test_a_form_a_megabyte_and_an_unknown_provider_are_refused(gateway, idp):
    token = idp.event(REVOKED)
    assert push(gateway, token, media_type="application/x-www-form-urlencoded").status == 400
    assert push(gateway, b"x" * 1_000_000).status == 413
    assert json.loads(push(gateway, token, slug="made-up").body)["err"] == "access_denied"


def test_an_event_is_remembered_over_a_restart(gateway, idp):
    token = idp.event(REVOKED, "dave")
    assert push(gateway, token).status == 202
    gateway.stop()
    gateway.start()
    made = make_session(gateway, "dave")
    assert push(gateway, token).status == 202
    assert not row(gateway, made.sid)["ended"]


def test_no_request_that_begins_after_the_answer_is_let_in(gateway, idp):
    made, done = make_session(gateway, "erin"), threading.Event()
    seen: list[tuple[float, int]] = []

    def visit(_):
        while not done.is_set():
            began = time.monotonic()
            seen.append((began, gateway.get("/api/protected", headers=made.headers).status))

    with ThreadPoolExecutor(8) as pool:
        visitors = [pool.submit(visit, number) for number in range(8)]
        time.sleep(0.5)
        status = push(gateway, idp.event("risc account-disabled", "erin")).status
        answered = time.monotonic()
        time.sleep(1)
        done.set()
    for one in visitors:
        one.result()
    assert status == 202
    assert {code for began, code in seen if began < answered - 0.3} == {200}
    assert {code for began, code in seen if began > answered} == {401}


def status_of(gateway, token):
    return gateway.get("/api/protected", token=token).status


@pytest.mark.parametrize("name", [REVOKED, "risc account-disabled"])
def test_an_issuer_refuses_the_tokens_of_its_subject_at_once(gateway, ci, name):
    robot, other = (ci.access_token(sub=f"{subject} {name}") for subject in ("robot", "other"))
    assert [status_of(gateway, token) for token in (robot, other)] == [200, 200]
    assert push(gateway, ci.event(name, f"robot {name}", aud=API), "ci").status == 202
    assert [{status_of(gateway, token) for _ in range(4)} for token in (robot, other)] == [{401}, {200}]


def test_neither_an_issuer_nor_a_provider_speaks_for_the_other(gateway, idp, ci):
    refused = [push(gateway, ci.event(REVOKED, aud=API), "idp"), push(gateway, idp.event(REVOKED), "ci")]
    assert [answer.status for answer in refused] == [400, 400]


def test_an_issuer_that_has_a_new_key_is_asked_for_it(gateway, ci):
    ci.key = signing_key(kid="second")
    ci.published.append(ci.key.jwk)
    assert push(gateway, ci.event(REVOKED, "somebody", aud=API), "ci").status in (202, 503)
    time.sleep(10)  # that it is not asked again for
    assert push(gateway, ci.event(REVOKED, "somebody", aud=API), "ci").status == 202
