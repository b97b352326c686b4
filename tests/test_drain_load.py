"""Under proxied load, most of it on the shortcut, neither a reload nor a new policy loses a request."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

import pytest

from tests.support import raw
from tests.support.policies import demo_policy
from tests.support.scripted import Kept, answer
from tests.support.streams import wait_until

BODY = b"from the upstream"


class Load:
    """Clients that send one request after the other on kept connections and count what becomes of them."""

    def __init__(self, gateway, clients: int = 6) -> None:
        self.outcomes: Counter[str] = Counter()
        self._request = raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}")
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._gateway.connect() as client:
                    self._use(client)
            except (OSError, raw.Truncated) as error:
                self.outcomes[repr(error)] += 1

    def _use(self, client: raw.RawClient) -> None:
        while not self._stop.is_set():
            response = client.send(self._request).response()
            self.outcomes["whole" if (response.status, response.body) == (200, BODY) else str(response)] += 1
            if response.header("connection") == "close":
                return


@pytest.fixture
def gateway(start_gateway, upstream):
    upstream.reply(Kept(answer(body=BODY)))
    return start_gateway(workers=2)


def assert_nothing_lost(load: Load, upstream) -> None:
    whole = load.outcomes.pop("whole")
    assert not load.outcomes
    # Each arrived once, and nearly all on a kept connection: what finds one goes by the shortcut.
    assert len(upstream.requests) == whole > 200
    assert len({request.connection for request in upstream.requests}) < whole / 10


def test_hup_loses_no_request(gateway, upstream):
    old = gateway.worker_pids()
    with Load(gateway) as load:
        time.sleep(0.5)
        gateway.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: not {*old} & {*gateway.worker_pids()}, 10)
        time.sleep(0.5)
    assert_nothing_lost(load, upstream)


def test_a_new_policy_loses_no_request(gateway, upstream):
    policy = demo_policy(upstream.target)
    with Load(gateway) as load:
        for name in ("one", "two"):
            gateway.import_policy(policy.replace("name: admin,", f"name: admin_{name},"))
            time.sleep(0.3)
    assert_nothing_lost(load, upstream)
    assert len({line["revision"] for line in gateway.log_lines(path="/api/public/x")}) == 3
