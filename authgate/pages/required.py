"""The door of Django views that answer only to a proven caller."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse

from authgate.pages import responses
from authgate.reason import Reason
from authgate.request import Identity

IdentityView = Callable[[HttpRequest, Identity], Coroutine[Any, Any, HttpResponse]]


def identity_required(view: IdentityView) -> Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]:
    """Calls the view with the identity that JWTAuthenticationMiddleware proved, or refuses as the gate would."""

    @wraps(view)
    async def refuse_or_view(request: HttpRequest) -> HttpResponse:
        identity: Identity | None = request.identity  # type: ignore[attr-defined]
        error: Reason | None = request.identity_error  # type: ignore[attr-defined]
        if identity is None or error is not None:
            return responses.refuse_django(request, error or Reason.NO_CREDENTIAL)
        return await view(request, identity)

    return refuse_or_view
