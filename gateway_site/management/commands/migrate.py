from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections, transaction

from gateway_site.database import make_file


class Command(migrate.Command):
    def execute(self, *args: Any, **options: Any) -> str | None:
        if not options["check_unapplied"] and not options["plan"]:  # these two only look
            make_file(connections[options["database"]].settings_dict)
        # A database that is locked or away is one line, before anything is said or done.
        with transaction.atomic(using=options["database"]):
            pass
        return super().execute(*args, **options)
