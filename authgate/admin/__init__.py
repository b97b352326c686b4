from __future__ import annotations

from django.contrib import admin

from authgate import admin_access  # its receiver must hear of accounts saved by any command
from authgate.admin import accounts, people, policy, revisions, routes, sessions, trust

__all__ = ["accounts", "admin_access", "people", "policy", "revisions", "routes", "sessions", "trust"]

admin.site.site_header = "authgate policy"
admin.site.site_title = "authgate"
admin.site.index_title = "Overview"
