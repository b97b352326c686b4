"""Policy files on disk: bounded when read; when written, complete or unchanged."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO

from authgate.policy.yaml_text import MAX_BYTES
from authgate.system_user import cause_of


class FileProblem(Exception):
    """An error message in one line that names the file."""


def read(name: str, standard_input: BinaryIO) -> str:
    """Reads a file; `-` is standard input. Raises FileProblem."""
    try:
        if name == "-":
            content = standard_input.read(MAX_BYTES + 1)
        else:
            with open(name, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileProblem(f"{name}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise FileProblem(f"{name}: {cause_of(error)}") from error
    except ValueError as error:
        raise FileProblem(f"{name}: {error}") from error


def write(path: Path, text: str) -> None:
    """Replaces the file. On FileProblem its previous content stays."""
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device cannot be replaced, and for a directory this raises the right error.
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path.resolve(), text)
    except OSError as error:
        raise FileProblem(f"{path}: {cause_of(error)}") from error


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
