"""What the admin says once about an edit: in a cookie with a name of ours, or in the session when it is too long."""

from __future__ import annotations

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class _OwnCookie(CookieStorage):
    # Django's own name is that of every Django application on this host, and services would receive the cookie.
    cookie_name = "__Host-authgate_messages" if settings.SECURE else "authgate_messages"


class MessageStorage(FallbackStorage):
    storage_classes = (_OwnCookie, SessionStorage)
