"""What may be used once: all processes of a machine remember it until its time is over, and forget none earlier."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from authgate.ratelimit.once import MOST, ONCE_BYTES, SLOTS, NoRoom, UsedOnce
from authgate.ratelimit.storage import Storage, create_storage
from tests.support.gateway import ROOT

NOW = 1_800_000_000.0
END = NOW + 60

WORKER = """
import sys
from authgate.ratelimit.once import ONCE_BYTES, UsedOnce
from authgate.ratelimit.storage import map_storage
used = UsedOnce(map_storage(int(sys.argv[1]), ONCE_BYTES))
print("ready", flush=True)
sys.stdin.readline()
print(sum(used.take(f"use {number}", 1_800_000_060.0, 1_800_000_000.0) for number in range(5000)))
"""
HOLD = """
import sys, time
from authgate.ratelimit.locks import lock_later
for bucket in map(int, sys.argv[2:]):
    lock_later(int(sys.argv[1]), bucket)
print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def storage() -> Storage:
    return create_storage(ONCE_BYTES, "test")


@pytest.fixture
def used(storage: Storage) -> UsedOnce:
    return UsedOnce(storage)


def of_one_bucket(used: UsedOnce, count: int) -> list[str]:
    wanted = used._place_of("0")[0]
    names = (str(number) for number in range(10_000_000))
    found: list[str] = []
    while len(found) < count:
        name = next(names)
        if used._place_of(name)[0] == wanted:
            found.append(name)
    return found


def test_the_first_use_alone(used: UsedOnce) -> None:
    assert [used.take("a", END, NOW) for _ in range(3)] == [True, False, False]
    assert used.take("b", END, NOW)


def test_until_its_time_is_over(used: UsedOnce) -> None:
    assert used.take("a", NOW + 59.2, NOW)
    assert not used.take("a", NOW + 59.2, NOW + 59.2)
    assert used.take("a", NOW + 200, NOW + 61)


def test_a_clock_that_is_set_back(used: UsedOnce) -> None:
    assert used.take("a", END, NOW)
    assert used.take("b", END + 3600, NOW + 3600)
    assert not used.take("a", END, NOW)


def test_a_full_bucket_refuses_and_forgets_none(used: UsedOnce) -> None:
    *names, last = of_one_bucket(used, SLOTS + 1)
    assert all(used.take(name, END + 1, NOW) for name in names)
    with pytest.raises(NoRoom):
        used.take(last, END, NOW)
    assert not any(used.take(name, END, NOW) for name in names)
    assert used.take(last, END + 60, END + 2)


def test_half_of_what_it_holds_finds_room(used: UsedOnce) -> None:
    assert all(used.take(f"use {number}", END, NOW) for number in range(MOST // 2))


def test_processes_count_together(storage: Storage) -> None:
    command = [sys.executable, "-c", WORKER, str(storage.descriptor)]
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=[storage.descriptor]
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    outputs = [worker.communicate("go\n", timeout=60)[0] for worker in workers[::-1]]
    assert sum(map(int, outputs)) == 5000


def test_threads_count_together(used: UsedOnce) -> None:
    taken: list[bool] = []
    threads = [
        threading.Thread(target=lambda: taken.extend([used.take(str(number), END, NOW) for number in range(2000)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 2000


def test_a_process_that_stops_inside_its_turn_makes_others_refuse(storage: Storage, used: UsedOnce) -> None:
    bucket = used._place_of("a")[0]
    command = [sys.executable, "-c", HOLD, str(storage.descriptor), str(bucket)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=[storage.descriptor]
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(NoRoom):
            used.take("a", END, NOW)
        holder.kill()
        holder.wait()
        assert used.take("a", END, NOW)
