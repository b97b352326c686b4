from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.policy.table import Limit
from authgate.ratelimit import local as local_module
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.storage import SLOTS, TABLE_BYTES, create_storage, map_storage
from tests.support.gateway import ROOT

SECOND = 1_000_000_000
HOUR = 3600.0

# Counts in the table as a worker does, says so, waits for the start signal, runs BODY, prints what it counted.
WORKER = """
import os, sys, time
from authgate.policy.table import Limit
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.storage import map_storage
limits = LocalLimits(map_storage(int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
"""


class Worker:
    def __init__(self, table: int, body: str) -> None:
        command = [sys.executable, "-c", WORKER + body, str(table)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            pass_fds=[table],
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def result(self) -> list[str]:
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return output.split()


def run_workers(table: int, bodies: list[str]) -> list[list[str]]:
    workers = [Worker(table, body) for body in bodies]
    for worker in workers:
        worker.wait_until_ready()
    for worker in workers:
        worker.go()
    return [worker.result() for worker in workers]


@pytest.fixture
def table() -> int:
    return create_storage().descriptor


@pytest.fixture
def limits(table: int) -> LocalLimits:
    return LocalLimits(map_storage(table))


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local_module, "monotonic_ns", clock)
    return clock


def test_the_burst_is_served_at_once_and_the_next_waits_one_interval(limits, clock):
    limit = Limit("api", 0.1, 3, "client")
    assert [limits.take(limit, "a") for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(0.1)]


def test_one_more_is_allowed_exactly_when_the_interval_has_passed(limits, clock):
    limit = Limit("api", 0.1, 1, "client")
    limits.take(limit, "a")
    clock.now += SECOND // 10 - 1
    assert limits.take(limit, "a") > 0
    clock.now += 1
    assert limits.take(limit, "a") == 0.0


def test_a_refused_request_takes_nothing(limits, clock):
    limit = Limit("api", 1.0, 1, "client")
    limits.take(limit, "a")
    assert {limits.take(limit, "a") for _ in range(100)} == {1.0}


def test_keys_and_limits_count_apart(limits, clock):
    one, other = Limit("one", HOUR, 1, "client"), Limit("other", HOUR, 1, "client")
    taken = [limits.take(limit, key) for limit in (one, other) for key in ("a", "b")]
    assert taken == [0.0] * 4


def test_after_a_limit_is_loosened_nobody_owes_more_than_one_burst_of_it(limits, clock):
    slow, fast = Limit("api", HOUR, 100, "client"), Limit("api", 1.0, 2, "client")
    for _ in range(100):
        limits.take(slow, "a")
    assert limits.take(fast, "a") == 1.0


def test_whoever_had_used_up_a_limit_that_is_raised_is_served_again_at_once(limits, clock):
    slow, fast = Limit("api", 60.0, 5, "client"), Limit("api", 0.01, 200, "client")
    for _ in range(6):
        limits.take(slow, "a")
    assert limits.take(fast, "a") == 0.01
    clock.now += SECOND // 100
    assert limits.take(fast, "a") == 0.0


def test_whoever_had_used_up_a_limit_that_is_lowered_gets_no_more_than_the_new_one(limits, clock):
    fast, slow = Limit("api", 0.01, 200, "client"), Limit("api", 60.0, 5, "client")
    for _ in range(201):
        limits.take(fast, "a")
    assert [limits.take(slow, "a") for _ in range(20)].count(0.0) <= 5


@given(
    limits_in_turn=st.lists(st.tuples(st.integers(1, 60 * SECOND), st.integers(1, 8)), min_size=2, max_size=5),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60 * SECOND)), max_size=60),
)
def test_a_changed_limit_counts_at_once(limits_in_turn, steps):
    """Whoever asks waits for one interval of the limit in force at most, and gets no more than it allows."""
    limits, clock = shared_table()
    changing = [Limit("changing", nanoseconds / SECOND, burst, "client") for nanoseconds, burst in limits_in_turn]
    key, current, since, allowed = f"{time.monotonic_ns()}", 0, clock.now, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_module, "monotonic_ns", clock)
        for which, pause in steps:
            clock.now += pause
            if which < len(changing) and which != current:
                current, since, allowed = which, clock.now, 0
            limit = changing[current]
            wait = limits.take(limit, key)
            allowed += wait == 0.0
            assert wait <= limit.interval
            assert allowed <= limit.burst + (clock.now - since) // limit.interval_ns


@given(
    interval=st.integers(1, 3 * SECOND),
    burst=st.integers(1, 8),
    steps=st.lists(st.tuples(st.integers(0, 2 * SECOND), st.sampled_from("abc")), max_size=60),
)
def test_it_agrees_with_a_bucket_that_drips_credit(interval, burst, steps):
    limits, clock = shared_table()
    limit = Limit(f"{time.monotonic_ns()}", interval / SECOND, burst, "client")
    exact = int(limit.interval * SECOND)  # as near as a float holds the drawn one
    credit, seen = defaultdict(lambda: exact * burst), defaultdict(lambda: clock.now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_module, "monotonic_ns", clock)
        for pause, key in steps:
            clock.now += pause
            credit[key] = min(exact * burst, credit[key] + clock.now - seen[key])
            seen[key] = clock.now
            expected = max(0, exact - credit[key]) / SECOND
            credit[key] -= 0 if expected else exact
            assert limits.take(limit, key) == expected


_shared: list[tuple[LocalLimits, Clock]] = []


def shared_table() -> tuple[LocalLimits, Clock]:
    if not _shared:
        _shared.append((LocalLimits(create_storage()), Clock()))
    return _shared[0]


def test_workers_that_start_on_nothing_together_allow_exactly_the_burst(table):
    hammer = f"""
limit = Limit("api", {HOUR}, 1000, "client")
for key in "ab":
    print(sum(limits.take(limit, key) == 0.0 for _ in range(3000)))
"""
    counts = run_workers(table, [hammer] * 4)
    assert [sum(int(count[key]) for count in counts) for key in (0, 1)] == [1000, 1000]


def test_over_time_workers_allow_exactly_the_burst_and_the_rate(table):
    # Each asks for a second and until it is refused. The burst outlasts any pause of the machine, so that no
    # credit is lost while nobody asks.
    hammer = """
limit, begin = Limit("api", 0.01, 150, "client"), time.monotonic_ns()
allowed = limits.take(limit, "a") == 0.0
first = time.monotonic_ns()
while True:
    last = time.monotonic_ns()
    if limits.take(limit, "a") == 0.0:
        allowed += 1
    elif last > begin + 1_000_000_000:
        break
print(int(allowed), begin, first, last, time.monotonic_ns())
"""
    results = [[int(number) for number in line] for line in run_workers(table, [hammer] * 3)]
    allowed, begins, firsts, lasts, ends = zip(*results, strict=True)
    at_least, at_most = max(lasts) - min(firsts), max(ends) - min(begins)
    assert 150 + at_least // 10_000_000 <= sum(allowed) <= 150 + at_most // 10_000_000


def test_workers_forked_after_the_table_was_made_allow_exactly_the_burst(table):
    hammer = f"""
limit = Limit("api", {HOUR}, 1000, "client")
children = []
for _ in range(4):
    if not (child := os.fork()):
        allowed = sum(limits.take(limit, "a") == 0.0 for _ in range(2000))
        os.write(1, f"{{allowed}} ".encode())
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""
    assert sum(int(count) for count in run_workers(table, [hammer])[0]) == 1000


def test_workers_of_several_threads_allow_exactly_the_burst(table):
    # A thread that ended the turn of another would let a second process in beside it.
    hammer = f"""
import threading
sys.setswitchinterval(1e-6)
limit, allowed = Limit("api", {HOUR}, 40000, "client"), []
def hammer():
    allowed.append(sum(limits.take(limit, "a") == 0.0 for _ in range(10000)))
threads = [threading.Thread(target=hammer) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(allowed))
"""
    assert sum(int(count) for (count,) in run_workers(table, [hammer] * 2)) == 40000


HOLD = """
from authgate.ratelimit.locks import lock_later
lock_later(limits._descriptor, limits._place("api", "a")[0]); print("locked", flush=True); time.sleep(60)
"""


@pytest.fixture
def holder(table: int):
    """A process that stopped in the middle of its turn on the key `a`."""
    worker = Worker(table, HOLD)
    worker.wait_until_ready()
    worker.go()
    assert worker.process.stdout.readline() == "locked\n"
    yield worker.process
    worker.process.kill()
    worker.process.communicate()


def test_a_worker_that_stops_inside_its_turn_makes_others_refuse_soon(holder, limits):
    begin = time.monotonic()
    assert limits.take(Limit("api", 0.5, 5, "client"), "a") == 0.5
    assert time.monotonic() - begin < 5


def test_a_worker_that_stops_inside_its_turn_stops_nobody_on_other_keys(holder, limits):
    assert limits.take(Limit("api", 0.5, 5, "client"), "b") == 0.0


def test_a_worker_killed_inside_its_turn_leaves_no_lock(holder, limits):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert limits.take(Limit("api", 0.5, 5, "client"), "a") == 0.0


def test_workers_killed_under_load_neither_wedge_nor_loosen_the_limit(table, limits):
    limit = f'Limit("api", {HOUR}, 100000, "client")'
    hammer = f"""
limit = {limit}
while limits.take(limit, "a") == 0.0:
    os.write(1, b".")
"""
    workers = [Worker(table, hammer) for _ in range(3)]
    for worker in workers:
        worker.wait_until_ready()
        worker.go()
    counts = []
    for worker in workers:
        drain = threading.Timer(0.2, worker.process.kill)
        drain.start()
        counts.append(len(worker.process.communicate()[0]))
    left = 0
    while limits.take(Limit("api", HOUR, 100000, "client"), "a") == 0.0:
        left += 1
    # Each of the three may have been killed between taking and saying so.
    assert 100000 - 3 <= sum(counts) + left <= 100000


def colliding_keys(limits: LocalLimits, count: int) -> list[str]:
    by_bucket: defaultdict[int, list[str]] = defaultdict(list)
    for number in itertools.count():
        keys = by_bucket[limits._place_of("api", f"{number}")[0]]
        keys.append(f"{number}")
        if len(keys) == count:
            return keys
    raise AssertionError


def test_a_full_bucket_forgets_the_key_that_owes_least(limits, clock):
    limit = Limit("api", HOUR, 2, "client")
    mild, *heavy, newcomer = colliding_keys(limits, SLOTS + 1)
    limits.take(limit, mild)
    for key in heavy * 2:
        limits.take(limit, key)
    limits.take(limit, newcomer)
    assert all(limits.take(limit, key) > 0 for key in heavy)


def test_a_key_whose_credit_is_full_again_makes_room_first(limits, clock):
    limit = Limit("api", 1.0, 1, "client")
    *keys, newcomer = colliding_keys(limits, SLOTS + 1)
    limits.take(limit, keys[0])
    clock.now += SECOND // 2
    for key in keys[1:]:
        limits.take(limit, key)
    clock.now += SECOND // 2
    limits.take(limit, newcomer)
    assert [limits.take(limit, key) for key in [*keys[1:], newcomer]] == [0.5] * (SLOTS - 1) + [1.0]


def test_nobody_can_cut_or_replace_the_table(limits, table):
    with pytest.raises(PermissionError):
        os.truncate(f"/proc/self/fd/{table}", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(table, 2 * TABLE_BYTES)
    with pytest.raises(PermissionError):
        fcntl.fcntl(table, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert limits.take(Limit("api", HOUR, 1, "client"), "a") == 0.0


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"\x5a"], ids=["nothing", "ones", "noise"])
def test_whatever_stands_in_the_table_costs_nobody_more_than_one_burst(limits, table, content):
    limit = Limit("api", 0.05, 2, "client")
    os.pwrite(table, content * (TABLE_BYTES - 4096), 4096)
    assert limits.take(limit, "a") <= limit.interval
    time.sleep(0.06)
    assert limits.take(limit, "a") == 0.0


def test_memory_that_is_not_there_is_one_line():
    # The limit of a process on the size of its files stands for the memory: the same call fails the same way.
    script = """
import resource
from authgate.ratelimit.storage import StorageError, create_storage
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    create_storage()
except StorageError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    assert output == "rate limits: cannot get 4 MiB of memory: File too large\n"
