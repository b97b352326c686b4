from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from authgate.observe import metrics
from authgate.observe.access_log import Record
from authgate.observe.exposition import render
from authgate.pages import responses
from authgate.pages.required import identity_required
from authgate.reason import Reason
from authgate.request import Identity
from authgate.sessions.metrics_access import is_from_its_networks, may_read_metrics
from authgate.threads import Threads

_threads = Threads("metrics", 1)


@require_safe
async def show(request: HttpRequest) -> HttpResponse:
    """For Prometheus."""
    facts = _record(request).facts
    if facts is not None and is_from_its_networks(facts):
        return await _answer(request)
    return await _for_readers(request)


@identity_required
async def _for_readers(request: HttpRequest, identity: Identity) -> HttpResponse:
    if not may_read_metrics(identity, _record(request).snapshot):
        return responses.refuse_django(request, Reason.MISSING_ROLE)
    return await _answer(request)


async def _answer(request: HttpRequest) -> HttpResponse:
    """Raises TooBusy."""
    metrics.flush()
    text, content_type = await _threads.run(render, request.headers.get("Accept", ""))
    return HttpResponse(text, content_type=content_type)


def _record(request: HttpRequest) -> Record:
    return getattr(request, "scope", {}).get("state", {}).get("record") or Record("")
