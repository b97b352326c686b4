from __future__ import annotations

from xml.etree import ElementTree

from benchmarks import stacks
from benchmarks.flame_svg import draw
from benchmarks.stacks import ROOT, Frame

STARTED = "main (/usr/bin/python3.11);Runner.run (/usr/lib/python3.11/asyncio/runners.py)"
LOOP = f"{STARTED};uv_run (/build/core.c)"
DECIDE = f"{LOOP};begin ({ROOT}/proxy/pipeline/direct.py);decide ({ROOT}/authgate/gate/decide.py)"
WRITE = "write (/usr/lib/libc.so.6)"


def test_time_belongs_to_the_innermost_room_that_is_at_work_or_called_what_is():
    lines = [
        f"{DECIDE} 4",
        f"{DECIDE};Py_DECREF (/include/object.h) 1",
        f"{DECIDE};0x7f01 (/usr/lib/libcrypto.so.3) 2",
        f"{LOOP};{WRITE} 3",
    ]
    found = stacks.read_stacks("\n".join(lines))
    assert [(one.room, one.column, one.count) for one in found] == [
        ("authgate/gate", "Python", 4), ("authgate/gate", "Python", 1), ("authgate/gate", "C", 2),
        ("event loop", "kernel", 3),
    ]  # fmt: skip
    assert [line.split()[-4:] for line in stacks.as_table(found).splitlines()[1:]] == [
        ["50.0%", "20.0%", "0.0%", "70.0%"], ["0.0%", "0.0%", "30.0%", "30.0%"],
        ["0.0%", "0.0%", "0.0%", "0.0%"], ["50.0%", "20.0%", "30.0%", "100.0%"],
    ]  # fmt: skip


def test_how_the_worker_was_started_is_no_part_of_a_stack():
    [found] = stacks.read_stacks(f"{LOOP};uv_run (/build/core.c);{WRITE} 1")
    assert found.frames == (Frame("uv_run", "/build/core.c"), Frame("write", "/usr/lib/libc.so.6"))


def test_what_waits_is_left_out():
    waiting = (
        f"PyThread_acquire_lock_timed (/usr/bin/python3.11);0x7f02 (/usr/lib/libc.so.6) 9\n{LOOP};epoll_pwait (/l) 3"
    )
    assert stacks.read_stacks(waiting) == []


def test_a_box_is_as_wide_as_its_share_of_the_samples():
    picture = ElementTree.fromstring(draw(stacks.read_stacks(f"{DECIDE} 30\n{LOOP};{WRITE} 10"), "<title>"))
    boxes = {group[0].text: float(group[1].get("width")) for group in picture.iter("{http://www.w3.org/2000/svg}g")}
    assert boxes["decide (authgate/gate/decide.py): 30 samples, 75.0%"] == 1350
    assert boxes["write (/usr/lib/libc.so.6): 10 samples, 25.0%"] == 450
