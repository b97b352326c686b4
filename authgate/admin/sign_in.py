"""The admin's sign-in form, with a limit on guessing."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django_ratelimit.core import get_usage

from authgate.ratelimit import client_key
from authgate.views import too_many_attempts

# Guessing one account's password, and trying one password on many accounts.
PER_ACCOUNT, PER_CLIENT = "5/m", "20/m"


def sign_in(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        limits = (("account", _client_and_account, PER_ACCOUNT), ("client", _client, PER_CLIENT))
        usages = [
            get_usage(request, group=f"sign-in-{group}", key=key, rate=rate, increment=True)
            for group, key, rate in limits
        ]
        waits = [usage["time_left"] for usage in usages if usage["should_limit"]]
        if waits:
            return too_many_attempts(request, max(1, *waits))
    return admin.site.login(request)


def _client(group: str, request: HttpRequest) -> str:
    return client_key(request.META["REMOTE_ADDR"])


def _client_and_account(group: str, request: HttpRequest) -> str:
    # An attacker elsewhere must not lock the operator out, so the account alone is not counted.
    return f"{_client(group, request)} {request.POST.get('username', '').strip().casefold()}"
