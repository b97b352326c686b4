from __future__ import annotations

from django.apps import AppConfig


class AuthgateConfig(AppConfig):
    name = "authgate"
    verbose_name = "Gateway policy"

    def ready(self) -> None:
        from authgate import checks, database_checks, file_checks  # noqa: F401  (registers them)
        from authgate.authn import trust  # noqa: F401  (its receivers make every worker see changed keys)
        from authgate.sessions import deletion  # noqa: F401  (and these say what goes with a person)
