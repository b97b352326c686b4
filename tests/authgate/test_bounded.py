from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from authgate.bounded import Bounded


def kept(cache: Bounded[int, str]) -> list[int]:
    return [number for number in range(10) if number in cache]


def test_the_oldest_makes_room():
    cache: Bounded[int, str] = Bounded(3)
    for number in range(5):
        cache.put(number, "x")
    assert kept(cache) == [2, 3, 4]


def test_asking_makes_nothing_younger():
    cache: Bounded[int, str] = Bounded(2)
    cache.put(1, "a")
    cache.put(2, "b")
    assert cache.get(1) == "a"
    cache.put(3, "c")
    assert kept(cache) == [2, 3]


def test_what_is_put_again_is_young_and_takes_no_second_place():
    cache: Bounded[int, str] = Bounded(3)
    for number in (1, 2, 3, 1):
        cache.put(number, f"{number}")
    assert kept(cache) == [1, 2, 3]
    cache.put(4, "4")
    assert kept(cache) == [1, 3, 4]


def test_what_is_removed_leaves_its_place():
    cache: Bounded[int, str] = Bounded(2)
    cache.put(1, "a")
    cache.put(2, "b")
    assert cache.pop(1, None) == "a"
    cache.put(3, "c")
    assert (kept(cache), len(cache)) == ([2, 3], 2)
    cache.clear()
    assert (kept(cache), cache.get(2)) == ([], None)


def test_threads_may_empty_it_meanwhile():
    cache: Bounded[int, str] = Bounded(1)

    def use(worker: int) -> None:
        for number in range(2000):
            cache.put(worker * 10_000 + number, "x")
            cache.pop(worker * 10_000 + number, None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(cache) <= 8
