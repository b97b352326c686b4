from __future__ import annotations

from typing import Any

from django import template

from authgate.models import PolicyRevision
from authgate.policy import snapshot

register = template.Library()


@register.inclusion_tag("admin/authgate/state.html")
def gateway_state() -> dict[str, Any]:
    """The newest revision, what this worker runs, and whether it is ready."""
    current = snapshot.current()
    return {
        "newest": PolicyRevision.objects.defer("document").first(),
        "running": current.revision if current else None,
        "fault": snapshot.fault(),
    }
