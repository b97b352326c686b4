from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from authgate.admin.sign_in import sign_in
from authgate.api import documents
from authgate.api.views import NotFound
from authgate.pages import (
    dashboard_views,
    event_views,
    identity_views,
    login_views,
    metadata_views,
    metrics_views,
    reflection,
    session_views,
    token_views,
    views,
)
from authgate.pages.protected_resource import METADATA_PATH

AUTH = settings.AUTHGATE_AUTH_PREFIX.lstrip("/")

urlpatterns = [
    path("", views.default_page, name="default-page"),
    path("health/ready", views.ready, name="health-ready"),
    path("admin/login/", sign_in),  # ahead of the same page without a limit
    path("admin/", admin.site.urls),
    path("dashboard", dashboard_views.dashboard, name="dashboard"),
    path("dashboard/tokens", token_views.tokens, name="personal-tokens"),
    path("dashboard/tokens/end", token_views.end_token, name="end-personal-token"),
    path(f"{AUTH}/login", login_views.login, name="login"),
    path(f"{AUTH}/callback", login_views.callback),
    path(f"{AUTH}/callback/<slug:slug>", login_views.callback, name="callback"),
    path(f"{AUTH}/arrive", login_views.arrive, name="arrive"),
    path(f"{AUTH}/logout", session_views.logout, name="logout"),
    path(f"{AUTH}/signed-out", session_views.signed_out, name="signed-out"),
    path(f"{AUTH}/backchannel-logout/<slug:slug>", session_views.backchannel_logout),
    path(f"{AUTH}/events/<slug:slug>", event_views.receive),
    path(f"{AUTH}/frontchannel-logout/<slug:slug>", session_views.frontchannel_logout),
    path(f"{AUTH}/sessions/end", session_views.end_sessions, name="end-sessions"),
    path(f"{AUTH}/me", identity_views.me, name="me"),
    path(f"{AUTH}/reflection", reflection.reflect),
    path(f"{AUTH}/api/schema", documents.schema, name="api-schema"),
    path(f"{AUTH}/api/docs", documents.docs, name="api-docs"),
    path(f"{AUTH}/api/", include("authgate.api.urls")),
    path(f"{AUTH}/api/<path:rest>", NotFound.as_view()),
    path("metrics", metrics_views.show, name="metrics"),
    path(".well-known/jwks.json", identity_views.jwks, name="jwks"),
    path(METADATA_PATH.lstrip("/"), metadata_views.protected_resource),
    path(f"{METADATA_PATH.lstrip('/')}/<path:path>", metadata_views.protected_resource),
]

handler400 = "authgate.pages.views.bad_request"
handler403 = "authgate.pages.views.forbidden"
handler404 = "authgate.pages.views.not_found"
handler500 = "authgate.pages.views.server_error"
