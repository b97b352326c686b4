"""The page of the doctor. It runs what `manage.py doctor` runs, and tries only what is configured."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from authgate.doctor.examination import StillRunning, count, examine
from authgate.doctor.finding import Level
from authgate.policy.powers import includes
from authgate.policy.schema import AdminAccess
from authgate.sessions import live
from authgate.sessions.operators import offered_access

# Findings name hosts, files and users of this machine.
NEEDED_ACCESS: AdminAccess = "superuser"
# Somebody waits for the page.
SECONDS = 25.0


def doctor_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Raises PermissionDenied."""
    if not includes(offered_access(request), NEEDED_ACCESS):
        raise PermissionDenied
    found = _examine() if request.method == "POST" else {}
    context = {**context, "title": "Doctor", "seconds": int(SECONDS), **found}
    return TemplateResponse(request, "admin/authgate/doctor.html", context)


def _examine() -> dict[str, Any]:
    try:
        sections = examine(SECONDS)
    except StillRunning:
        return {"still_running": True}
    errors, warnings = count(sections, Level.ERROR), count(sections, Level.WARNING)
    return {
        "sections": sections,
        "summary": f"{live.count(errors, 'error')}, {live.count(warnings, 'warning')}",
    }
