from __future__ import annotations

import pytest

from benchmarks import attacks, bystanders, wrk
from benchmarks.bench import Invalid, Series
from benchmarks.scenarios import all_good
from benchmarks.targets import Target

OUTPUT = """\
Running 2s test @ http://127.0.0.1:20001/small
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.51ms    2.02ms  51.07ms   96.63%
    Req/Sec    24.55k     3.61k   30.66k    67.50%
  Latency Distribution
     50%  980.00us
     75%    1.50ms
     90%    2.29ms
     99%    1.20s
  97949 requests in 2.01s, 26.43MB read
"""
RATE = "Requests/sec:  48826.53\nTransfer/sec:     13.18MB\n"
ERRORS = "  Socket errors: connect 0, read 3, write 0, timeout 2\n  Non-2xx or 3xx responses: 7\n"


def test_what_wrk_says_is_read():
    assert wrk.parse(OUTPUT + RATE) == wrk.Load(48826.53, 0.98, 2.29, 1200.0, 97949, 0, 0, 0, 0)


def test_latencies_from_when_requests_were_due_replace_those_of_wrk():
    load = wrk.parse(OUTPUT + RATE + "Counted from when they were due: 97900\n50% 2.500ms\n90% 9ms\n99% 310.125ms\n")
    assert (load.p50_ms, load.p90_ms, load.p99_ms, load.from_due) == (2.5, 9.0, 310.125, 97900)


def test_refused_and_broken_requests_are_counted():
    load = wrk.parse(OUTPUT + ERRORS + RATE)
    assert (load.refused, load.broken) == (7, 5)


@pytest.mark.parametrize("text", [OUTPUT + ERRORS + RATE, RATE], ids=["some were refused", "nothing was answered"])
def test_a_measurement_of_anything_but_success_is_invalid(text):
    with pytest.raises(Invalid):
        all_good(wrk.parse(text))


def test_a_ratio_is_taken_round_by_round():
    # The machine was slow in the second round: neither median tells that the ratio was 2 all the time.
    results = {"small": {"gateway": Series({"rate": [200, 20, 220]}), "nginx": Series({"rate": [100, 10, 110]})}}
    assert Target("", "small", "rate", 1, "nginx").measured(results) == 2


def test_a_ratio_to_a_peer_that_is_missing_is_not_told():
    results = {"small": {"gateway": Series({"rate": [200]})}}
    assert Target("", "small", "rate", 1, "nginx").measured(results) is None


def test_others_that_were_refused_make_an_attack_a_failure():
    seen = bystanders.Seen()
    seen.milliseconds = [float(number) for number in range(1, 101)]
    report = seen.report()
    assert (report["served"], report["p50_ms"]) == (100, 50.5)
    assert attacks.refused({"people": {"proxied": report}}) == 0
    seen.refused["503"] += 2
    assert attacks.refused({"people": {"proxied": seen.report(), "admin": report}}) == 2


def test_the_table_says_of_each_attack_what_others_saw():
    seen = {"served": 9, "refused": {"503": 1}, "p50_ms": 3.0, "p95_ms": 70.4}
    one = {"extra_mib": 12.5, "strangers": {}, "people": dict.fromkeys(attacks.KINDS, seen)}
    [_, line] = [
        line
        for line in attacks.table({"http1": {"slow_readers": one}}).splitlines()
        if "http1" in line or "slow" in line
    ]
    assert line.split() == ["slow_readers", "12.5", *["9/1", "3/70"] * 4]
