"""Security events that a running gateway fetches: by several workers, over outages, and over a worker's death."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.hostile import Reply
from tests.support.issuers import API
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, row, run
from tests.support.streams import wait_until
from tests.support.token_provider import CLIENT_ID
from tests.support.transmitter import POLL, POLL_TOKEN, Transmitter

REVOKED = "caep session-revoked"
_SOON = """
from authgate.models.polling import EventPoll
EventPoll.objects.update(next_at=now)
"""


@pytest.fixture(scope="module")
def ci():
    with Transmitter() as started:
        yield started


@pytest.fixture(scope="module")
def idp():
    with Transmitter() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory, idp, ci):
    directory: Path = tmp_path_factory.mktemp("polled")
    (directory / "token").write_text(f"{POLL_TOKEN}\n")
    token = ("--poll-token-file", str(directory / "token"))
    policy = demo_policy(session_upstream.target)
    with Gateway(directory / "data", template=gateway_template, policy=policy, workers=2) as started:
        started.shell.command(
            "provider", "add", "idp", "--issuer", idp.issuer, "--client-id", CLIENT_ID, "--public-client",
            "--poll-endpoint", idp.endpoint, *token,
        )  # fmt: skip
        ci.register(started, "ci", "--poll-endpoint", ci.endpoint)
        yield started.start()


def settled(transmitter):
    assert wait_until(lambda: not transmitter.waiting, 30)


@pytest.mark.parametrize("name", [REVOKED, "caep credential-change", "risc sessions-revoked", "risc account-disabled"])
def test_sessions_end_by_themselves(gateway, idp, name):
    made = make_session(gateway, name)
    assert gateway.get("/api/protected", headers=made.headers).status == 200
    (offered,) = idp.offer(idp.event(name, name))
    settled(idp)
    assert offered in idp.acked
    assert gateway.get("/api/protected", headers=made.headers).status == 401
    assert row(gateway, made.sid)["ended"]
    assert {asked["authorization"] for asked in idp.polls} == {f"Bearer {POLL_TOKEN}"}


def test_tokens_of_an_issuer_are_refused(gateway, ci):
    token = ci.access_token(sub="robot")
    assert gateway.get("/api/protected", token=token).status == 200
    ci.offer(ci.event(REVOKED, "robot", aud=API))
    settled(ci)
    assert gateway.get("/api/protected", token=token).status == 401


def test_two_workers_do_not_ask_twice(gateway, idp):
    run(gateway, _SOON)
    before = len(idp.polls)
    time.sleep(12)
    assert 1 <= len(idp.polls) - before <= 4


def test_events_that_came_while_it_was_down_are_fetched_when_it_is_back(gateway, idp):
    made = make_session(gateway, "dave")
    idp.status = 500
    run(gateway, _SOON)
    assert wait_until(lambda: "events of idp are not fetched" in gateway.output, 15)
    idp.offer(idp.event(REVOKED, "dave"))
    idp.status = 200
    settled(idp)
    assert row(gateway, made.sid)["ended"]
    assert wait_until(lambda: "events of idp are fetched again" in gateway.output, 5)


def test_a_transmitter_that_hangs_delays_no_other_one(gateway, idp, ci):
    answer = idp.answers[POLL]
    idp.answers[POLL] = lambda seen: (time.sleep(9), answer(seen))[1]
    try:
        run(gateway, _SOON)
        time.sleep(3)  # a poll that was under way has been answered
        asked = len(idp.polls)
        time.sleep(1)
        assert len(idp.polls) == asked
        ci.offer(ci.event(REVOKED, "somebody", aud=API))
        began = time.monotonic()
        assert wait_until(lambda: not ci.waiting, 12)
        assert time.monotonic() - began < 9
    finally:
        idp.answers[POLL] = answer


def test_nothing_is_lost_when_a_worker_is_killed_between_handling_and_acknowledging(gateway, idp):
    """The last request of the turn is the acknowledgement: it comes to nobody, and its worker dies."""
    made = make_session(gateway, "erin")
    answer, killed = idp.answers[POLL], []

    def kill_instead(seen):
        if '"ack": ["' in seen.body:
            killed.extend(gateway.worker_pids())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            idp.answers[POLL] = answer
            return Reply(500)
        return answer(seen)

    (offered,) = idp.offer(idp.event(REVOKED, "erin"))
    idp.answers[POLL] = kill_instead
    run(gateway, _SOON)
    assert wait_until(lambda: killed, 20)
    assert row(gateway, made.sid)["ended"]
    assert offered not in idp.acked
    assert wait_until(lambda: len(gateway.worker_pids()) == 2 and not set(killed) & set(gateway.worker_pids()), 20)
    run(gateway, _SOON)  # a minute later, when the dead worker's turn is over
    again = make_session(gateway, "erin")
    settled(idp)
    assert offered in idp.acked
    assert "received before" in gateway.output
    assert not row(gateway, again.sid)["ended"]


def test_it_stops_in_time_while_a_transmitter_hangs(gateway, idp):
    answer = idp.answers[POLL]
    idp.answers[POLL] = lambda seen: (time.sleep(5), answer(seen))[1]
    try:
        run(gateway, _SOON)
        time.sleep(3)
        assert gateway.stop(timeout=15) == 0
    finally:
        idp.answers[POLL] = answer
        run(gateway, _SOON)  # its turn was under way, and would count as that for a minute
        gateway.start()
