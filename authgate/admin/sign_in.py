"""The admin's sign-in form, with a limit on guessing."""

from __future__ import annotations

import unicodedata

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django_ratelimit.core import get_usage

from authgate.models import IdentityProvider
from authgate.ratelimit import client_key
from authgate.views import too_many_attempts

# Guessing one account's password, and trying one password on many accounts.
PER_ACCOUNT, PER_CLIENT = "5/m", "20/m"


def sign_in(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        # The client first: once refused it leaves no more counters, of which only so many are kept.
        for group, key, rate in (("client", _client, PER_CLIENT), ("account", _client_and_account, PER_ACCOUNT)):
            usage = get_usage(request, group=f"sign-in-{group}", key=key, rate=rate, increment=True)
            if usage["should_limit"]:
                return too_many_attempts(request, max(1, usage["time_left"]))
    return admin.site.login(request, {"provider_login": _provider_login()})


def _provider_login() -> str:
    has_provider = IdentityProvider.objects.filter(enabled=True).exists()
    return f"{settings.AUTHGATE_AUTH_PREFIX}/login" if has_provider else ""


def _client(group: str, request: HttpRequest) -> str:
    return client_key(request.META["REMOTE_ADDR"])


def _client_and_account(group: str, request: HttpRequest) -> str:
    # An attacker elsewhere must not lock the operator out, so the account alone is not counted. The name as Django
    # reads it: trimmed, in NFKC; of one longer than 254 characters there is no account.
    name = unicodedata.normalize("NFKC", request.POST.get("username", "").strip()[:255]).strip().casefold()
    return f"{_client(group, request)} {name}"
