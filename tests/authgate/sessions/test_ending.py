from __future__ import annotations

import json
import time

import pytest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import make_session, row, run


@pytest.fixture(scope="module")
def two_workers(gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("ending") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, workers=2) as started:
        yield started.start()


def answers(gateway, made, count=8):
    """Of many connections, so that each of two workers takes some."""
    return {gateway.get("/api/protected", headers=made.headers).status for _ in range(count)}


def ends_within_two_seconds(gateway, made, code):
    assert answers(gateway, made) == {200}
    run(gateway, f"{code}\nprint(time.time())", sid=made.sid)
    time.sleep(1)
    return answers(gateway, made) == {401}


def test_an_ended_session_is_refused_by_every_worker_within_two_seconds(two_workers):
    made = make_session(two_workers)
    assert ends_within_two_seconds(two_workers, made, "assert store.end(options['sid'], 'signed out')")
    after = row(two_workers, made.sid)
    assert (after["ended"], after["reason"], after["revoked"]) == (True, "signed out", True)


def test_an_ended_session_keeps_no_token_of_the_provider(two_workers):
    made = make_session(two_workers, refresh_token="r", sealed_id_token="x")
    run(two_workers, "store.end(options['sid'], 'signed out')", sid=made.sid)
    assert row(two_workers, made.sid)["sealed"] == ["", ""]


def test_all_other_sessions_end_and_the_one_at_hand_goes_on(two_workers):
    here, there = make_session(two_workers, "carol"), make_session(two_workers, "carol")
    stranger = make_session(two_workers, "dave")
    code = (
        "person = Person.objects.get(provider_subject='carol')\nassert store.end_others(person, options['keep']) == 1"
    )
    run(two_workers, code, keep=here.sid)
    time.sleep(1)
    assert [answers(two_workers, made) for made in (here, there, stranger)] == [{200}, {401}, {200}]


def test_everybody_is_signed_out_of_all_of_their_sessions(two_workers):
    sessions = [make_session(two_workers, "erin") for _ in range(2)]
    run(two_workers, "assert store.end_all(Person.objects.get(provider_subject='erin'), 'deactivated') == 2")
    time.sleep(1)
    assert [answers(two_workers, made) for made in sessions] == [{401}, {401}]


def test_ending_what_has_ended_changes_nothing(two_workers):
    made = make_session(two_workers)
    twice = "print(json.dumps([store.end(options['sid'], reason) for reason in ('first', 'second')]))"
    assert json.loads(run(two_workers, twice, sid=made.sid)) == [True, False]
    assert row(two_workers, made.sid)["reason"] == "first"


def test_a_session_that_a_restored_backup_revives_is_ended_by_the_command(start_gateway):
    gateway = start_gateway()
    made = make_session(gateway)
    gateway.stop()
    database = gateway.data_dir / "authgate.sqlite3"
    backup = database.read_bytes()
    run(gateway, "store.end(options['sid'], 'signed out')", sid=made.sid)
    database.write_bytes(backup)
    gateway.start()
    revived = gateway.get("/api/protected", headers=made.headers).status
    gateway.manage("sessions", "end", "--all")
    gateway.settle()
    assert (revived, gateway.get("/api/protected", headers=made.headers).status) == (200, 401)
