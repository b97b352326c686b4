from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def private_draft(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A private file beside `path`, open and empty, and its name. It is gone afterwards unless it was renamed."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file, draft
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def finished_draft(path: Path, content: str) -> Iterator[Path]:
    """A private file beside `path`, to link or rename into its place: no process ever reads a half-written one, and a
    machine that loses its power keeps no empty one. The draft is gone afterwards.
    """
    with private_draft(path) as (file, draft):
        file.write(content.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
        yield draft
