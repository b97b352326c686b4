from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AuthgateConfig(AppConfig):
    name = "authgate"
    verbose_name = "Gateway policy"

    def ready(self) -> None:
        # Each registers what has to happen whoever changes a row, or what `manage.py check` looks at.
        from authgate.checks import database, environment, files  # noqa: F401
        from authgate.doctor import examinations  # noqa: F401
        from authgate.sessions import deletion  # noqa: F401
        from authgate.state import trust  # noqa: F401


class AdminConfig(DjangoAdminConfig):
    default_site = "authgate.admin.site.AdminSite"

    def ready(self) -> None:
        super().ready()
        from authgate.admin import registered  # noqa: F401
