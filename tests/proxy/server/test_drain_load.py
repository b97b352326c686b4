"""Under proxied load, most of it on kept connections, neither a reload nor a new policy loses a request."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support import raw
from tests.support.load import Load
from tests.support.policies import demo_policy
from tests.support.scripted import Kept, answer
from tests.support.streams import wait_until

BODY = b"from the upstream"


def load(gateway) -> Load:
    request = raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}")
    return Load(gateway.connect, request, clients=6, describe=whole_or_not)


def whole_or_not(response: raw.Response) -> str:
    return "whole" if (response.status, response.body) == (200, BODY) else str(response)


@pytest.fixture
def gateway(start_gateway, upstream):
    upstream.reply(Kept(answer(body=BODY)))
    return start_gateway(workers=2)


def assert_nothing_lost(clients: Load, upstream) -> None:
    whole = clients.outcomes.pop("whole")
    assert not clients.outcomes
    # Each arrived once, and nearly all on a kept connection.
    assert len(upstream.requests) == whole > 200
    assert len({request.connection for request in upstream.requests}) < whole / 10


def test_hup_loses_no_request(gateway, upstream):
    old = gateway.worker_pids()
    with load(gateway) as clients:
        time.sleep(0.5)
        gateway.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: not {*old} & {*gateway.worker_pids()}, 10)
        time.sleep(0.5)
    assert_nothing_lost(clients, upstream)


def test_a_new_policy_loses_no_request(gateway, upstream):
    policy = demo_policy(upstream.target)
    with load(gateway) as clients:
        for name in ("one", "two"):
            gateway.import_policy(policy.replace("name: admin,", f"name: admin_{name},"))
            time.sleep(0.3)
    assert_nothing_lost(clients, upstream)
    assert len({line["revision"] for line in gateway.log_lines(path="/api/public/x")}) == 3
