"""The gateway as an ASGI application, for any server that speaks ASGI."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
django.setup()

from proxy.pipeline.asgi import application  # noqa: E402  (with settings, and after Django has loaded them)

__all__ = ["application"]
