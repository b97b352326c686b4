"""Which routes lie below a path: what a request for a whole folder would act on as well."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from authgate.policy.schema import Route
from authgate.wire.target import careless_path, fold_case


class PathsBelow:
    """The paths of all routes of all hosts in alphabetical order, where those below a path stand side by side."""

    __slots__ = ("_numbers", "_paths")

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        ordered = sorted([(route.host + fold_case(route.path), number) for number, route in enumerate(routes)])
        self._paths = [path for path, _ in ordered]
        self._numbers = [number for _, number in ordered]

    def find(self, host: str, path: str) -> Iterator[int]:
        """The numbers of the routes for this host, also of those that another one hides there. In any reading of the
        path: a service that ignores case moves "/secret" with its parent, however that is written."""
        for reading in {fold_case(path), fold_case(careless_path(path))}:
            for each in _patterns(host):
                yield from self._from(f"{each}{reading.rstrip('/')}/")

    def _from(self, start: str) -> Iterator[int]:
        place = bisect_right(self._paths, start)  # the path itself is not below itself
        while place < len(self._paths) and self._paths[place].startswith(start):
            yield self._numbers[place]
            place += 1


def _patterns(host: str) -> Iterator[str]:
    """As routes may name this host."""
    yield host
    yield ""
    dot = host.find(".", 1)
    while dot != -1:
        yield f"*{host[dot:]}"
        dot = host.find(".", dot + 1)
