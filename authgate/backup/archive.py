"""The file of a backup: gzip, and in it JSON lines. A head, the rows as Django's serializer `jsonl` writes them, and a
tail with their number and SHA-256, without which the file was cut short or changed. The digest is also sealed with the
secret key: whoever can write where backups are kept could else put in an account of their own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from authgate.sealing import SealBroken, seal_text, unseal_text
from authgate.system_user import cause_of

FORMAT = 1
_PURPOSE = "backup"
_LONGEST_LINE = 64 * 1024 * 1024


class BackupUnusable(Exception):
    """The message is one line for an operator."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authgate_backup: int  # the format
    made_at: str  # ISO 8601, UTC
    migrations: dict[str, str]  # the last one of each application


class _Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: int
    sha256: str
    seal: str  # of the digest


class Writer:
    """Writes the head at once; call finish() after the last row."""

    def __init__(self, file: IO[bytes], head: Head) -> None:
        # No name and no time: the same database gives the same bytes.
        self._zip = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        self._sha256 = hashlib.sha256()
        self._write(msgspec.json.encode(head) + b"\n")
        self._rows = 0

    def write(self, line: str) -> int:
        """A whole row with its line feed, or a part of one: the file that Django's serializer writes to."""
        self._write(line.encode("utf-8", "surrogatepass"))
        self._rows += line.endswith("\n")
        return len(line)

    def finish(self) -> int:
        """How many rows there are."""
        digest = self._sha256.hexdigest()
        tail = _Tail(self._rows, digest, seal_text(digest, purpose=_PURPOSE))
        self._zip.write(msgspec.json.encode(tail) + b"\n")
        self._zip.close()
        return self._rows

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._zip.write(data)


class Archive:
    """A backup that was read once and is whole. `name`: what messages call it. Raises BackupUnusable."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self._path, self._name = path, name or repr(str(path))
        self.counts: Counter[str] = Counter()  # rows of each model
        lines = self._lines()
        first = next(lines, b"")
        self.head = self._read_head(first)
        sha256, last = hashlib.sha256(first), b""
        for line in lines:
            if last:
                sha256.update(last)
                self.counts[self._model_of(last)] += 1
            last = line
        self._digest = sha256.hexdigest()
        self._check_tail(last)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Raises BackupUnusable at the end, too: it is read for the second time."""
        lines = self._lines()
        sha256 = hashlib.sha256(next(lines, b""))
        for line, _ in zip(lines, range(self.counts.total()), strict=False):
            sha256.update(line)
            yield json.loads(line)
        if sha256.hexdigest() != self._digest:
            raise self._unusable("was changed while it was read")

    def _read_head(self, line: bytes) -> Head:
        try:
            head = msgspec.json.decode(line, type=Head)
        except msgspec.MsgspecError:
            raise self._unusable("is not a backup of the gateway") from None
        if head.authgate_backup != FORMAT:
            raise self._unusable(f"has format {head.authgate_backup}, and this version reads {FORMAT}: use a newer one")
        return head

    def _model_of(self, line: bytes) -> str:
        try:
            return msgspec.json.decode(line, type=_Model).model
        except msgspec.MsgspecError:
            raise self._unusable("is damaged: a line of it is no row") from None

    def _check_tail(self, line: bytes) -> None:
        try:
            tail = msgspec.json.decode(line, type=_Tail)
        except msgspec.MsgspecError:
            raise self._unusable("is not complete: its end is missing") from None
        if (tail.rows, tail.sha256) != (self.counts.total(), self._digest):
            raise self._unusable("was damaged or changed after it was made")
        try:
            is_ours = unseal_text(tail.seal, purpose=_PURPOSE) == self._digest
        except SealBroken:
            is_ours = False
        if not is_ours:
            raise self._unusable("belongs to another AUTHGATE_SECRET_KEY, or was changed after it was made")

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self._path, "rb") as file:
                while line := file.readline(_LONGEST_LINE):
                    yield line
        except (gzip.BadGzipFile, zlib.error):
            raise self._unusable("is damaged, or no backup of the gateway") from None
        except EOFError:
            raise self._unusable("is not complete: its end is missing") from None
        except OSError as error:
            raise self._unusable(f"cannot be read: {cause_of(error)}") from None

    def _unusable(self, problem: str) -> BackupUnusable:
        return BackupUnusable(f"{self._name} {problem}")


class _Model(msgspec.Struct):
    model: str
