from __future__ import annotations

from typing import Any

from django.core.management.commands import check


class Command(check.Command):
    """Django's, which looks into the database as well, without being asked by `--database`."""

    def handle(self, *app_labels: Any, **options: Any) -> None:
        options["databases"] = options["databases"] or ["default"]
        super().handle(*app_labels, **options)
