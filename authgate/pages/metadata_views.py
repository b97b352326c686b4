from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_http_methods

from authgate.observe.access_log import Record
from authgate.pages import responses
from authgate.pages.protected_resource import describe, find_resource
from authgate.reason import Reason


@require_http_methods(["GET", "HEAD", "OPTIONS"])
async def protected_resource(request: HttpRequest, path: str = "") -> HttpResponse:
    """The metadata of a route to an MCP server. Public, for clients in browsers as well."""
    record: Record = getattr(request, "scope", {}).get("state", {}).get("record") or Record("")
    facts, snapshot = record.facts, record.snapshot
    if facts is None or snapshot is None:
        return responses.refuse_django(request, Reason.NO_POLICY)
    if request.method == "OPTIONS":
        response = HttpResponse(status=204)
        response["Access-Control-Allow-Methods"] = "GET"
        response["Access-Control-Allow-Headers"] = "MCP-Protocol-Version"
    elif (entry := find_resource(facts, snapshot)) is not None:
        response = JsonResponse(describe(entry, facts, snapshot))
    else:
        response = responses.refuse_django(request, Reason.NO_ROUTE)
    response["Access-Control-Allow-Origin"] = "*"
    return response
