"""The numbers at `/metrics` are those of what happened: over all workers, and of those that died."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest

from authgate.observe import metrics
from authgate.version import VERSION
from tests.support import raw
from tests.support.agent import Agent
from tests.support.dead_targets import refused_target
from tests.support.gateway import ROOT
from tests.support.load import Load
from tests.support.metrics import OPENMETRICS, Scrape, scrape
from tests.support.scripted import answer

REQUESTS = "authgate_requests_total"


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(params=[(), ("--http2",)], ids=["http1", "http2"])
def workers(request, start_gateway):
    return start_gateway(workers=2, args=request.param)


def ask(gateway, times, target="/api/public/x", **options):
    with ThreadPoolExecutor(8) as threads:
        return [r.status for r in threads.map(lambda _: gateway.request(target, **options), range(times))]


def test_requests_are_counted_exactly_over_all_workers_and_one_that_is_killed_takes_none_with_it(workers):
    before = scrape(workers).total(REQUESTS, route="public")
    assert set(ask(workers, 200)) == {200}
    assert set(ask(workers, 30, "/api/protected")) == {401}
    assert set(ask(workers, 20, "/nowhere")) == {404}

    def counted():
        seen = scrape(workers)
        return (
            seen.total(REQUESTS, route="public", status="2xx", reason="public") - before,
            seen.total(REQUESTS, route="protected", status="4xx", reason="no_credential"),
            seen.total(REQUESTS, route="(none)", status="4xx", reason="no_route"),
            seen.total("authgate_request_duration_seconds_count", route="protected"),
            seen.total("authgate_upstream_response_seconds_count", upstream="api"),
        )

    assert counted() == (200, 30, 20, 30, 200 + before)
    for killed in workers.worker_pids():
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(pids := workers.worker_pids()) == 2 and killed not in pids)  # noqa: B023
        wait_until(lambda: ask(workers, 1, "/health") == [200])
    assert counted() == (200, 30, 20, 30, 200 + before)
    ask(workers, 10)
    assert counted()[0] == 210
    assert scrape(workers).total("authgate_worker_starts_total") == 4


def test_under_load_it_can_always_be_parsed_and_no_counter_falls(start_gateway):
    gateway = start_gateway(workers=2)
    request = raw.request("GET", "/api/public/x", host=f"localhost:{gateway.port}")
    last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    with Load(gateway.connect, request, clients=8) as load:
        for number in range(30):
            seen = scrape(gateway, accept=OPENMETRICS if number % 2 else "")
            for sample in seen:
                if sample.name.endswith(("_total", "_count", "_bucket", "_sum")) and "process" not in sample.name:
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    assert sample.value >= last.get(key, 0), key
                    last[key] = sample.value
    assert set(load.outcomes) == {"200"}
    assert scrape(gateway).total(REQUESTS, route="public", status="2xx") == load.outcomes.total()


def test_a_histogram_has_each_request_once_in_the_bucket_of_its_time(start_gateway, upstream):
    gateway = start_gateway()

    def slow(connection, request):
        time.sleep(0.3)
        connection.send(answer())

    ask(gateway, 3)
    upstream.reply(slow)
    ask(gateway, 2)
    seen = scrape(gateway)
    for name in ("authgate_request_duration_seconds", "authgate_upstream_response_seconds"):
        by_bound = {each.labels["le"]: each.value for each in seen.samples(f"{name}_bucket")}
        assert (by_bound["0.25"], by_bound["0.5"], by_bound["+Inf"]) == (3, 5, 5)
        assert 0.6 < seen.total(f"{name}_sum") < 1.5


def test_no_label_names_a_person_a_path_a_client_or_a_token(start_gateway):
    gateway = start_gateway()
    token = gateway.mint("alice-the-caller", email="alice@secret.example", name="Alice Secret")
    for target in ("/api/protected/secret-path?secret=query", "/api/public/secret-path", "/secret-path", "/%zz-secret"):
        gateway.get(target, token=token)
        gateway.get(target, token="secret-token")
    gateway.request("/api/public/secret", host="secret.example")
    gateway.request("/api/public/secret", method="SECRET")
    gateway.get("/auth/login?provider=secret")
    text = scrape(gateway).text
    assert "secret" not in text.lower().replace("client_secret", "")
    assert "alice" not in text
    assert set(re.findall(r'(\w+)="', text)) == {
        "route", "status", "reason", "upstream", "target", "le", "state", "cache", "result", "outcome", "worker",
        "version", "python", "django",
    }  # fmt: skip


def test_a_route_that_the_policy_has_no_more_goes_away_and_one_that_it_gets_comes(start_gateway, upstream):
    gateway = start_gateway(workers=2)
    ask(gateway, 10)
    assert scrape(gateway).total(REQUESTS, route="public") == 10
    gateway.import_policy(f"""\
version: 1
upstreams:
  other: {{targets: ["{upstream.target}"]}}
routes:
  - {{name: new, path: /new, access: public, upstream: other}}
""")
    ask(gateway, 10, "/new")
    seen = scrape(gateway)
    assert seen.total(REQUESTS, route="new") == 10
    assert {sample.labels["route"] for sample in seen.samples(REQUESTS)} <= {"new", "(gateway)", "(none)"}
    assert {sample.labels["upstream"] for sample in seen if "upstream" in sample.labels} == {"other"}


def test_of_very_many_routes_the_first_have_series_of_their_own(start_gateway, upstream):
    most = metrics.MOST_NAMED
    routes = "\n".join(f"  - {{name: r{n}, path: /r{n}, access: public, upstream: api}}" for n in range(most + 50))
    upstreams = f'upstreams:\n  api: {{targets: ["{upstream.target}"]}}'
    gateway = start_gateway(policy=f"version: 1\n{upstreams}\nroutes:\n{routes}\n")
    for number in (0, most - 1, most, most + 49):
        assert gateway.get(f"/r{number}").status == 200
    routes = {each.labels["route"]: each.value for each in scrape(gateway).samples(REQUESTS, status="2xx")}
    assert {name: routes[name] for name in routes if name != "(gateway)"} == {"r0": 1, f"r{most - 1}": 1, "(other)": 2}


def test_what_is_in_flight_and_how_the_workers_are(workers, upstream):
    go = threading.Event()

    def hold(connection, request):
        go.wait(20)
        connection.send(answer())

    upstream.reply(hold)
    with ThreadPoolExecutor(6) as threads:
        held = [threads.submit(workers.get, "/api/public/x") for _ in range(6)]
        wait_until(lambda: scrape(workers).total("authgate_in_flight", state="waiting") == 6)
        go.set()
        assert {each.result().status for each in held} == {200}
    wait_until(lambda: scrape(workers).total("authgate_in_flight") == 0)
    seen = scrape(workers)
    assert seen.total("authgate_workers") == seen.total("authgate_worker_ready") == 2
    assert seen.total("authgate_snapshot_age_seconds") < 2
    assert {each.value for each in seen.samples("authgate_policy_revision")} == {1}
    assert all(each.value > 20e6 for each in seen.samples("process_resident_memory_bytes"))
    assert len(seen.samples("process_open_fds")) == 2
    assert seen.samples("authgate_build_info", version=VERSION)


def test_targets_that_fail_and_requests_that_are_cut_or_limited(start_gateway, upstream):
    dead = refused_target()
    gateway = start_gateway(
        policy=f"""\
version: 1
upstreams:
  api: {{targets: ["{dead}", "{upstream.target}"]}}
rate_limits:
  few: {{rate: 1/h, burst: 2, per: client}}
routes:
  - {{name: all, path: /all, access: public, upstream: api}}
  - {{name: few, path: /few, access: public, upstream: api, rate_limit: few}}
"""
    )
    assert set(ask(gateway, 4, "/all")) == {200}
    assert sorted(ask(gateway, 5, "/few")) == [200, 200, 429, 429, 429]

    def cut(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.close()

    upstream.reply(cut)
    with pytest.raises((AssertionError, OSError)):
        gateway.get("/all/cut")
    wait_until(lambda: scrape(gateway).total("authgate_upstream_target_healthy", target=dead) == 0)
    seen = scrape(gateway)
    assert seen.total("authgate_upstream_ejections_total", upstream="api", target=dead) >= 1
    assert seen.total("authgate_upstream_target_healthy", target=upstream.target) == 1
    assert seen.total("authgate_rate_limited_total", limit="few") == 3
    assert seen.total(REQUESTS, route="few", status="4xx", reason="rate_limited") == 3
    assert seen.total("authgate_responses_cut_total", cause="upstream_broken") == 1


def test_the_caches_say_how_often_they_helped(start_gateway):
    gateway = start_gateway()
    token = gateway.mint("alice")
    assert set(ask(gateway, 10, "/api/protected", token=token)) == {200}

    def lookups(cache, result):
        return scrape(gateway).total("authgate_cache_lookups_total", cache=cache, result=result)

    assert (lookups("identity", "miss"), lookups("identity", "hit")) == (1, 9)
    wait_until(lambda: lookups("route", "miss") + lookups("route", "hit") == 10)


def test_sign_ins_are_counted_by_what_became_of_them(start_gateway):
    gateway = start_gateway()
    page = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")]
    assert gateway.get("/auth/login?next=/", headers=page).status == 503
    assert outcomes(gateway) == {"no_provider": 1}


def test_a_sign_in_that_succeeds_counts_once(start_gateway, start_openid_provider):
    gateway = start_gateway()
    start_openid_provider(gateway)
    gateway.settle()
    Agent().sign_in(f"{gateway.url}/auth/login?next=/dashboard", "alice")
    assert outcomes(gateway) == {"signed_in": 1}


def outcomes(gateway):
    return {each.labels["outcome"]: each.value for each in scrape(gateway).samples("authgate_sign_ins_total")}


def test_the_version_is_the_projects():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_a_request_to_the_check_of_health_is_not_counted(start_gateway):
    gateway = start_gateway()
    before = scrape(gateway).total(REQUESTS)
    ask(gateway, 5, "/health")
    assert scrape(gateway).total(REQUESTS) == before + 1  # the scrape before


def test_both_formats_say_the_same(start_gateway):
    gateway = start_gateway()
    ask(gateway, 3)
    plain, open_metrics = scrape(gateway), scrape(gateway, accept=OPENMETRICS)
    assert open_metrics.text.endswith("# EOF\n")
    assert {each.name for each in plain} == {each.name for each in open_metrics}
    assert isinstance(plain, Scrape)
