from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from authgate.outages import say_outage
from authgate.policy import snapshot
from authgate.trouble import is_outage


async def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("healthy", content_type="text/plain")


async def ready(request: HttpRequest) -> JsonResponse:
    problem = snapshot.not_ready()
    body: dict[str, object] = {"ready": problem is None}
    if problem is not None:
        body["problem"] = problem
    return JsonResponse(body, status=200 if problem is None else 503)


async def default_page(request: HttpRequest) -> HttpResponse:
    return render(request, "default_page.html")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _error(request, 400, "bad_request", "The request is malformed.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 403, "forbidden", "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _error(request, 403, "forbidden", "The form is out of date. Go back, reload the page and try again.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if isinstance(error, Exception) and is_outage(error):
        say_outage(error, _request_id(request))
        return unavailable(request)
    return _error(request, 500, "unavailable", "Something went wrong here; it has been logged.")


def unavailable(request: HttpRequest, again: str = "") -> HttpResponse:
    """`again`: where another try begins, unless the same page may answer next time."""
    message = "The database is busy or away. Nothing was changed; try again."
    return _error(request, 503, "unavailable", message, again)


def too_many_attempts(request: HttpRequest, retry_after: int, again: str = "") -> HttpResponse:
    response = _error(request, 429, "rate_limited", "Too many attempts; try again later.", again)
    response["Retry-After"] = str(retry_after)
    return response


def _error(request: HttpRequest, status: int, error: str, message: str, again: str = "") -> HttpResponse:
    """What Django's own pages answer with; what the gate refuses is worded in `responses`."""
    request_id = _request_id(request)
    body = {"error": error, "message": message, "reason": error, "request_id": request_id}
    # A browser says text/html by name; programs that take anything (`*/*`) get JSON.
    if "text/html" in request.headers.get("Accept", ""):
        if not again and status in (429, 503) and request.method == "GET":
            again = request.get_full_path()
        page = render_to_string("refusal.html", {"status": status, "again": again, **body})
        response = HttpResponse(page, status=status)
    else:
        response = JsonResponse(body, status=status)
    response["Cache-Control"] = "no-store"
    return response


def _request_id(request: HttpRequest) -> str:
    return str(getattr(request, "scope", {}).get("state", {}).get("request_id", ""))
