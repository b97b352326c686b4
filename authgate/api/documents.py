"""What describes the API: its OpenAPI document, and a page that shows it. Both are the same for everybody."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator

from authgate.api.components import components
from authgate.api.urls import urlpatterns
from authgate.api.views import is_here
from authgate.own_pages import API
from authgate.security_headers import OWN_PAGES_CSP

_WORDS = """Upstreams, routes, roles, grants, limits and revisions of the policy, and the trust beside it.

Send an access token of the gateway with a role that has `admin: api` as Bearer, or be signed in to /admin/; then \
changes need the CSRF cookie's token in X-CSRFToken. Errors are problems of RFC 9457 and name the field. Objects have \
an ETag, and changes honour If-Match. Every change of the policy is one revision."""
# Swagger UI has its icons in its style sheet.
_CSP = OWN_PAGES_CSP.decode().replace("img-src 'self'", "img-src 'self' data:")


@lru_cache(maxsize=1)
def openapi() -> bytes:
    generator: Any = SchemaGenerator
    document: dict[str, Any] = generator(patterns=urlpatterns).get_schema(request=None, public=True)
    document["info"] = {"title": "authgate", "version": "1", "description": _WORDS}
    document["servers"] = [{"url": f"{settings.AUTHGATE_AUTH_PREFIX}{API}"}]
    document["security"] = [{"token": []}, {"session": [], "csrf": []}]
    document["components"] = {
        "schemas": components(),
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "session": {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
            "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
        },
    }
    return json.dumps(document).encode()


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    _require_here(request)
    return HttpResponse(openapi(), content_type="application/json")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    _require_here(request)
    context = {"schema_url": f"{settings.AUTHGATE_AUTH_PREFIX}{API}/schema", "csrf_cookie": settings.CSRF_COOKIE_NAME}
    response = render(request, "api_docs.html", context)
    response["Content-Security-Policy"] = _CSP
    return response


def _require_here(request: HttpRequest) -> None:
    if not is_here(request):
        raise Http404
