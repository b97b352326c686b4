"""Lists: one page of them at a time, filtered by the query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from authgate.api.problems import invalid
from authgate.api.schema import FieldError, Parameter

MOST = 500
USUAL = 100
_LARGEST = 10**9
PAGE = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}, "Objects in an answer."),
    Parameter("offset", {"type": "integer", "minimum": 0, "maximum": _LARGEST, "default": 0}, "Objects to skip."),
)
Filter = Callable[[Any, str], bool]


def answer_page(request: Request, every: Sequence[Any] | QuerySet[Any], show: Callable[[Any], Any]) -> Response:
    limit, offset = number_of(request, "limit", USUAL, 1, MOST), number_of(request, "offset", 0, 0, _LARGEST)
    count = every.count() if isinstance(every, QuerySet) else len(every)
    return Response(
        {
            "count": count,
            "next": _link(request, limit, offset + limit) if offset + limit < count else None,
            "previous": _link(request, limit, max(0, offset - limit)) if offset else None,
            "results": [show(item) for item in every[offset : offset + limit]],
        }
    )


def number_of(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Raises Problem."""
    text = request.query_params.get(name)
    if text is None:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else least - 1
    if not least <= value <= most:
        raise invalid([FieldError(name, f"must be a whole number from {least} to {most}")])
    return value


def flag_of(request: Request, name: str) -> bool | None:
    """None: not given."""
    return FLAGS.get(request.query_params.get(name, ""))


def matching(request: Request, every: Sequence[Any], filters: Mapping[str, Filter]) -> list[Any]:
    given = [(filters[name], value) for name, value in request.query_params.items() if name in filters]
    return [item for item in every if all(holds(item, str(value)) for holds, value in given)]


FLAGS = {"1": True, "true": True, "0": False, "false": False}


def flag(name: str, words: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": list(FLAGS)}, words)


def text(name: str, words: str) -> Parameter:
    return Parameter(name, {"type": "string", "pattern": "^[^\\u0000]*$"}, words)


def choice(name: str, choices: Sequence[str], words: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": list(choices)}, words)


def _link(request: Request, limit: int, offset: int) -> str:
    """A relative reference: the path as the client sent it."""
    link = replace_query_param(str(request.get_full_path()), "limit", str(limit))
    return replace_query_param(str(link), "offset", str(offset))
