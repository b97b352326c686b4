"""Each alert fires on the fault that it names, in a real gateway that a real Prometheus scrapes; and not before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.alerts.prometheus import RULES
from tests.support import raw
from tests.support.dead_targets import refused_target
from tests.support.scripted import answer
from tests.support.sessions import run

NAMES = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]
PAGE = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


def policy(*targets, route="", upstream=""):
    return f"""\
version: 1
upstreams:
  api: {{targets: [{", ".join(f'"{target}"' for target in targets)}]{upstream}}}
rate_limits:
  few: {{rate: 1/h, burst: 1, per: client}}
routes:
  - {{name: all, path: /all, access: public, upstream: api{route}}}
  - {{name: closed, path: /closed, access: authenticated, upstream: api}}
"""


@contextmanager
def again_and_again(action, pause=0.05):
    """While the block runs."""
    stop = threading.Event()

    def repeat():
        while not stop.wait(pause):
            with suppress(OSError, AssertionError):
                action()

    threads = [threading.Thread(target=repeat) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_prometheus_reads_the_rules_and_nothing_fires_when_all_is_well(start_gateway, watch, upstream):
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    gateway = start_gateway(policy=policy(upstream.target), workers=2)
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        time.sleep(15)
        assert prometheus.firing() == {}
        assert prometheus.query("sum by (route) (rate(authgate_requests_total[10s]))", "route")["all"] > 1


def test_down(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    gateway.stop()
    prometheus.wait_for("AuthgateDown")


def test_snapshot_old_and_errors(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    (gateway.data_dir / "authgate.sqlite3").rename(gateway.data_dir / "gone")
    with again_and_again(lambda: gateway.get("/health/ready")):
        prometheus.wait_for("AuthgateErrors")
        prometheus.wait_for("AuthgateSnapshotOld", 90)
    assert gateway.get("/all/x").status == 200
    (gateway.data_dir / "gone").rename(gateway.data_dir / "authgate.sqlite3")
    prometheus.wait_until(lambda: prometheus.firing() == {}, 60)


def test_overloaded(start_gateway, watch, upstream):
    upstream.reply(lambda connection, request: (time.sleep(1), connection.send(answer())))
    gateway = start_gateway(policy=policy(upstream.target, upstream=", connections: 1, queue: 0"))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        prometheus.wait_for("AuthgateOverloaded")


def test_upstream_down_and_errors_of_its_routes(start_gateway, watch):
    gateway = start_gateway(policy=policy(refused_target()))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        assert prometheus.wait_for("AuthgateUpstreamDown")["upstream"] == "api"
        assert prometheus.wait_for("AuthgateRouteErrors")["route"] == "all"


def test_target_down(start_gateway, watch, upstream):
    dead = refused_target()
    gateway = start_gateway(policy=policy(upstream.target, dead))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        assert prometheus.wait_for("AuthgateTargetDown")["target"] == dead
        assert "AuthgateUpstreamDown" not in prometheus.firing()


def test_errors_that_the_service_answers_itself(start_gateway, watch, upstream):
    upstream.reply(answer(status="500 Broken"))
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        assert prometheus.wait_for("AuthgateRouteErrors")["route"] == "all"
        assert "AuthgateUpstreamDown" not in prometheus.firing()


def test_upstream_slow(start_gateway, watch, upstream):
    upstream.reply(lambda connection, request: (time.sleep(3), connection.send(answer())))
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        assert prometheus.wait_for("AuthgateUpstreamSlow")["upstream"] == "api"


def test_event_loop_late(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    (pid,) = gateway.worker_pids()

    def stand_still():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.9)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)

    deadline = time.monotonic() + 60
    while "AuthgateEventLoopLate" not in prometheus.firing():
        assert time.monotonic() < deadline
        stand_still()


def test_sign_ins_fail(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target), env={"AUTHGATE_SIGN_IN_RATE": "100/s"})
    run(gateway, f"IdentityProvider.objects.create(slug='idp', client_id='gateway', issuer='{refused_target()}')")
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/auth/login?next=/", headers=PAGE)):
        prometheus.wait_for("AuthgateSignInsFail")


def test_bad_credentials(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target))
    prometheus = watch(gateway)
    token = gateway.mint("alice")
    forged = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    with again_and_again(lambda: gateway.get("/closed", token=forged)):
        prometheus.wait_for("AuthgateBadCredentials")


def test_rate_limited(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target, route=", rate_limit: few"))
    prometheus = watch(gateway)
    with again_and_again(lambda: gateway.get("/all/x")):
        assert prometheus.wait_for("AuthgateRateLimited")["limit"] == "few"


def test_workers_die(start_gateway, watch, upstream):
    gateway = start_gateway(policy=policy(upstream.target), workers=2)
    prometheus = watch(gateway)

    def kill():
        pids = gateway.worker_pids()
        if len(pids) == 2:
            os.kill(pids[0], signal.SIGKILL)

    with again_and_again(kill, pause=0.7):
        prometheus.wait_for("AuthgateWorkersDie")


def test_files_run_out(start_gateway, watch):
    """Each request that waits for its service has two: so many of them that few are left."""
    with ExitStack() as sockets:
        silent = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2000))
        gateway = start_gateway(policy=policy(f"http://127.0.0.1:{silent.getsockname()[1]}"), files=2048)
        prometheus = watch(gateway)
        request = raw.request("GET", "/all/x", host=f"localhost:{gateway.port}")
        for _ in range(880):
            sockets.enter_context(socket.create_connection(gateway.address, 5)).sendall(request)
        prometheus.wait_for("AuthgateFilesRunOut")


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_tried(name):
    assert f'"{name}"' in Path(__file__).read_text()


TARGET = 'authgate_upstream_target_healthy{instance="g", upstream="a", target="t"}'
CASES = [
    ("AuthgateDown", {'up{job="authgate", instance="g"}': "1x2 0x20"}, "4m"),
    ("AuthgateSnapshotOld", {'authgate_snapshot_age_seconds{instance="g"}': "0+60x20"}, "4m"),
    (
        "AuthgateUpstreamDown",
        {TARGET: "0x20"},
        "2m",
    ),
    ("AuthgateTargetDown", {TARGET: "0x20"}, "6m"),
    (
        "AuthgateRouteErrors",
        {
            'authgate_requests_total{instance="g", route="r", status="5xx", reason="public"}': "0+10x20",
            'authgate_requests_total{instance="g", route="r", status="2xx", reason="public"}': "0+100x20",
        },
        "15m",
    ),
]


@pytest.mark.parametrize(("name", "series", "at"), CASES, ids=[case[0] for case in CASES])
def test_with_its_real_times_it_fires_late_enough(name, series, at, tmp_path):
    """Not at once, and then."""
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": values} for key, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                        "eval_time": when,
                        "exp_samples": [{"labels": "{}", "value": value}],
                    }
                    for when, value in (("30s", 0), (at, 1))
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(document))
    tested = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
