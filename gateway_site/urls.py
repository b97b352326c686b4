from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import path

from authgate import identity_views, views
from authgate.admin.sign_in import sign_in

AUTH = settings.AUTHGATE_AUTH_PREFIX.lstrip("/")

urlpatterns = [
    path("", views.default_page, name="default-page"),
    path("health", views.health, name="health"),
    path("health/ready", views.ready, name="health-ready"),
    path("admin/login/", sign_in),  # ahead of the same page without a limit
    path("admin/", admin.site.urls),
    path("dashboard", views.dashboard, name="dashboard"),
    path(f"{AUTH}/me", identity_views.me, name="me"),
    path(".well-known/jwks.json", identity_views.jwks, name="jwks"),
]

handler400 = "authgate.views.bad_request"
handler403 = "authgate.views.forbidden"
handler404 = "authgate.views.not_found"
handler500 = "authgate.views.server_error"
