"""Security events that identity providers and token issuers push (RFC 8935)."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from authgate.oidc.security_event import EventRefused
from authgate.outbound.errors import ProviderError
from authgate.own_hosts import own_hosts
from authgate.pages import responses
from authgate.pages.sign_in_pages import explains_outages, facts_of
from authgate.reason import Reason
from authgate.sessions.event_filter import receive_pushed

logger = logging.getLogger(__name__)

_MEDIA_TYPE = "application/secevent+jwt"


# Nobody's cookie counts here: the token in the body says by its signature who sends it.
@csrf_exempt
@require_POST
@explains_outages
async def receive(request: HttpRequest, slug: str) -> HttpResponse:
    facts = facts_of(request)
    if facts.authority.host not in own_hosts():
        return responses.refuse_django(request, Reason.NO_ROUTE)
    try:
        await receive_pushed(slug, _token_in(request), facts.client)
    except EventRefused as refused:
        logger.warning("an event of %s is refused: %s: %s", slug, refused.err, refused)
        return _refuse(refused)
    except ProviderError as error:
        # Not the event's fault, so it may come again.
        logger.warning("an event of %s has to wait: %s: %s", slug, error.code, error.detail)
        return HttpResponse("the keys are not at hand\n", status=503, content_type="text/plain")
    return HttpResponse(status=202, content_type="text/plain")


def _token_in(request: HttpRequest) -> str:
    """Raises EventRefused."""
    if request.content_type != _MEDIA_TYPE:
        raise EventRefused("invalid_request", f"the body is not {_MEDIA_TYPE}")
    try:
        return request.body.decode("ascii")
    except ValueError:
        raise EventRefused("invalid_request", "the body is not a signed token") from None


def _refuse(refused: EventRefused) -> HttpResponse:
    response = JsonResponse({"err": refused.err, "description": str(refused)}, status=400)
    response["Content-Language"] = "en"
    return response
