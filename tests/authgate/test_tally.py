"""Numbers in memory that others read."""

from __future__ import annotations

import os

import pytest

from authgate.state.places import Places
from authgate.tally import REFUSED, SPARE, Moving, Tally, read_entries


def read(tally):
    return read_entries(lambda begin, length: bytes(tally.memory[begin : begin + length]))


def test_what_is_added_is_read():
    tally = Tally()
    tally.add(("requests", "ü", "2xx"))
    tally.add(("requests", "ü", "2xx"), 2)
    tally.set(("gauge",), 7)
    place = tally.at(("histogram",), 3)
    tally.numbers[place + 2] += 5
    assert read(tally) == {("requests", "ü", "2xx"): (3,), ("gauge",): (7,), ("histogram",): (0, 0, 5)}


def test_memory_that_was_used_before_goes_on():
    first, second = Tally(), Tally()
    first.add(("a",), 3)
    second.lay(first.memory)
    second.add(("a",))
    second.add(("b",))
    assert read(second) == {("a",): (4,), ("b",): (1,)}


def test_what_is_not_wanted_any_more_makes_room_and_the_rest_keeps_its_numbers():
    tally = Tally()
    for name in ("kept first", "gone", "kept", "gone too"):
        tally.add((name,), len(name))
    before = tally.at(("kept first",))
    tally.keep(lambda key: key[0].startswith("kept"))
    assert tally.at(("kept first",)) == before
    assert read(tally) == {("kept first",): (10,), ("kept",): (4,)}
    tally.add(("kept",))
    tally.add(("gone",))
    assert read(tally) == {("kept first",): (10,), ("kept",): (5,), ("gone",): (1,)}


def test_what_finds_no_room_is_counted_as_such_and_harms_nothing():
    tally = Tally()
    tally.lay(memoryview(bytearray(512)))
    for number in range(100):
        tally.add((str(number),))
    found = read(tally)
    assert found.pop(REFUSED)[0] == 100 - len(found)
    assert set(found.values()) == {(1,)}
    assert tally.at(("one more",)) == SPARE


def test_memory_whose_numbers_are_being_moved_is_read_again_and_a_new_owner_begins_anew():
    tally = Tally()
    tally.add(("a",))
    tally.numbers[0] += 1
    with pytest.raises(Moving):
        read(tally)
    tally.lay(tally.memory)
    assert read(tally) == {}
    tally.add(("a",))
    assert read(tally) == {("a",): (1,)}


def test_memory_that_nobody_has_used_has_nothing():
    assert read_entries(lambda begin, length: b"") == {}
    assert read_entries(lambda begin, length: bytes(length)) == {}


def test_a_place_goes_to_the_next_process_with_all_that_is_in_it():
    places = Places("test", 1 << 14)
    places.prepare()

    def child(name):
        tally = Tally()
        tally.lay(memoryview(places.map_own()))
        tally.add((name,))
        os._exit(0)

    for name in ("one", "two"):
        pid = os.fork()
        if not pid:
            child(name)
        os.waitpid(pid, 0)
    (place,) = places.used()
    assert read_entries(lambda begin, length: places.read(place, begin, length)) == {("one",): (1,), ("two",): (1,)}


def test_without_memory_to_share_there_is_no_place():
    places = Places("test", 1 << 14)
    assert (places.own(), places.map_own(), list(places.used())) == (None, None, [])
