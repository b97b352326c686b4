"""Standard error of a server: the log, warnings and tracebacks, none of which waits for a reader."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

from authgate.observe.line_writer import LineWriter, flush_all
from authgate.observe.strangers import client_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_DESCRIPTOR = 2


def keep_going(client_key: Callable[[str], str]) -> None:
    """Redirects standard error of this process and its forks. `client_key` gives the client of an address."""
    # Without a buffer: another thread could hold its lock at the moment of a fork.
    raw = cast(BinaryIO, _Lines(LineWriter(_DESCRIPTOR, "standard error")))
    stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)
    sys.stderr = stream
    client_lines.key_of = client_key
    for handler in logging.root.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
            handler.addFilter(client_lines)
    atexit.register(_end)


def _end() -> None:
    client_lines.tell()
    flush_all()


class _Lines(io.RawIOBase):
    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        lines = bytes(data)
        self._writer.put(lines)
        return len(lines)

    def fileno(self) -> int:
        return _DESCRIPTOR

    def isatty(self) -> bool:
        return os.isatty(_DESCRIPTOR)
