from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from authgate.pages import responses
from authgate.pages.required import identity_required
from authgate.reason import Reason
from authgate.request import Identity
from authgate.state import snapshot


@require_safe
async def jwks(request: HttpRequest) -> HttpResponse:
    """The public keys, with which services verify X-Auth-Assertion (RFC 7517)."""
    current = snapshot.current()
    if current is None:
        return responses.refuse_django(request, Reason.NO_POLICY)
    response = HttpResponse(current.trust.jwks, content_type="application/jwk-set+json")
    # Short, because a service must learn of a new key soon after it begins to sign.
    response["Cache-Control"] = "public, max-age=60"
    return response


@require_safe
@identity_required
async def me(request: HttpRequest, identity: Identity) -> HttpResponse:
    """What the gateway knows of the caller."""
    return JsonResponse(
        {
            "subject": identity.subject,
            "email": identity.email,
            "name": identity.name,
            "roles": sorted(identity.roles),
            "issuer": identity.issuer,
            "credential": identity.credential,
            "scopes": sorted(identity.scopes),
            "token_id": identity.token_id,
            "expires_at": identity.expires_at,
        }
    )
