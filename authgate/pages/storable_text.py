"""Text that no database can hold, kept from all of the gateway's own pages at once.

NUL and halves of surrogate pairs: PostgreSQL refuses them, SQLite takes the first, and nobody types either.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.db import DataError
from django.http import HttpRequest, HttpResponse, QueryDict

from authgate.pages.middleware import Middleware
from authgate.pages.views import bad_request

logger = logging.getLogger(__name__)


class StorableTextMiddleware(Middleware):
    """400 for a path, a query or a form with such text. A cookie with it is no cookie: any service may have set it."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        request.COOKIES = {name: value for name, value in request.COOKIES.items() if is_storable(value)}
        return None if all(map(is_storable, _texts(request))) else bad_request(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Whatever else a database may refuse to hold: a bad value is no outage."""
        if not isinstance(exception, DataError):
            return None
        logger.warning("the database refuses a value of %s: %s", request.path, type(exception.__cause__).__name__)
        return bad_request(request)


def is_storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _texts(request: HttpRequest) -> Iterable[str]:
    yield request.path
    yield from _texts_of(request.GET)
    if request.method == "POST":
        # First as bytes: parsing a multipart form leaves nothing for a view that reads the body itself.
        _ = request.body
        yield from _texts_of(request.POST)


def _texts_of(form: QueryDict) -> Iterable[str]:
    for name, values in form.lists():
        yield name
        yield from map(str, values)
