from __future__ import annotations

from django.apps import AppConfig


class GatewaySiteConfig(AppConfig):
    name = "gateway_site"

    def ready(self) -> None:
        from gateway_site import checks, doctor  # noqa: F401  (registers them)
        from gateway_site.demo import checks as demo_checks  # noqa: F401
