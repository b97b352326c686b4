"""What is wrong with a new row, in the words of a command's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError


def explain(error: ValidationError, options: Mapping[str, str], *, name: str = "", if_taken: str = "") -> str:
    """`options`: by field. `if_taken`: what to do when the field `name` has the value of another row."""
    lines = [
        f"{options.get(field, field.replace('_', ' '))}: {message}{_hint(one, if_taken if field == name else '')}"
        for field, problems in error.error_dict.items()
        for one in problems
        for message in one.messages
    ]
    return "\n".join(lines)


def _hint(problem: Any, if_taken: str) -> str:
    return f" {if_taken}" if if_taken and problem.code == "unique" else ""
