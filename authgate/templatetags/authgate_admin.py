from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils import timezone

from authgate.models.policy import PolicyRevision
from authgate.state import service_tokens, snapshot, watcher

register = template.Library()


@register.inclusion_tag("admin/authgate/state.html", takes_context=True)
def gateway_state(context: Mapping[str, Any]) -> dict[str, Any]:
    """The newest revision, what this worker runs, and whether it is ready; to staff what their permissions show."""
    user = context["user"]
    current = snapshot.current()
    shows_tokens = user.has_perm("authgate.view_servicetoken")
    return {
        "newest": PolicyRevision.objects.defer("document").first(),
        "shows_author": user.has_perm("authgate.view_policyrevision"),
        "expiring": list(service_tokens.expiring(timezone.now())) if shows_tokens else [],
        "has_doctor": user.is_superuser,
        "running": current.revision if current else None,
        # In full it names hosts, database users and files.
        "fault": watcher.fault() if user.has_module_perms("authgate") else watcher.not_ready(),
    }
