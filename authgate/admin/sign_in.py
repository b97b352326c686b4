"""The admin's sign-in form, with a limit on guessing."""

from __future__ import annotations

import math
import unicodedata

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from authgate.models.people import IdentityProvider
from authgate.oidc.next_url import MAX_LENGTH
from authgate.pages.local_sign_in import is_open_to, remember_device
from authgate.pages.views import too_many_attempts
from authgate.policy.table import Limit
from authgate.ratelimit import client_key, take_here

# Of one client, counted here because only here the name is read. What one client may try in all is refused before a
# thread has it (authgate.ratelimit.sign_in).
PER_ACCOUNT = Limit("/admin/login account", 12.0, 5, "client")


def sign_in(request: HttpRequest) -> HttpResponse:
    if len(request.META["QUERY_STRING"]) > MAX_LENGTH:
        # The page shows it, and an apostrophe of it as six characters: such an address is not one that we lead to.
        return HttpResponseRedirect(request.path)
    if request.method == "POST" and (seconds := take_here(PER_ACCOUNT, _client_and_account(request))):
        return too_many_attempts(request, math.ceil(seconds))
    is_open = is_open_to(request.META["REMOTE_ADDR"])
    response = admin.site.login(request, {"provider_login": _provider_login(), "takes_passwords": is_open})
    if request.method == "POST" and response.status_code == 302:
        remember_device(response)
    return response


def _provider_login() -> str:
    has_provider = IdentityProvider.objects.filter(enabled=True).exists()
    return f"{settings.AUTHGATE_AUTH_PREFIX}/login" if has_provider else ""


def _client_and_account(request: HttpRequest) -> str:
    # An attacker elsewhere must not lock the operator out, so the account alone is not counted. The name as Django
    # reads it: trimmed, in NFKC; of one longer than 254 characters there is no account.
    name = unicodedata.normalize("NFKC", request.POST.get("username", "").strip()[:255]).strip().casefold()
    return f"{client_key(request.META['REMOTE_ADDR'])} {name}"
