from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from authgate.admin.publishing import document_of, live_number, say_publication, shorten, show_refusal
from authgate.admin.typed import ModelAdmin
from authgate.models.policy import PolicyRevision
from authgate.policy import revisions
from authgate.policy.errors import PolicyInvalid
from authgate.sessions.operators import operator_of

SHOWN_CHANGES = 500
ROLLBACK = "authgate.change_policyrevision"


@admin.register(PolicyRevision)
class PolicyRevisionAdmin(ModelAdmin[PolicyRevision]):
    """Read-only; the one thing to do with a revision is to publish it again."""

    list_display = ["number", "published", "author", "comment", "is_live"]
    list_filter = ["created_at", "author"]
    search_fields = ["author", "comment"]
    fields = ["number", "published", "author", "comment"]
    readonly_fields = ["published"]
    change_form_template = "admin/authgate/revision.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        # A document of thousands of routes is megabytes; a page of revisions shows none of it.
        newest = PolicyRevision.objects.order_by("-number").values("number")[:1]
        return super().get_queryset(request).defer("document").annotate(live=Q(number=Subquery(newest)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(ROLLBACK)

    @admin.display(ordering="created_at")
    def published(self, revision: PolicyRevision) -> str:
        return revision.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")

    @admin.display(description="live", boolean=True)
    def is_live(self, revision: Any) -> bool:
        return bool(revision.live)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        number = self._number(request, object_id)
        context = {
            **_differences(number),
            "may_roll_back": number != live_number() and request.user.has_perm(ROLLBACK),
            "rollback_url": reverse("admin:authgate_policyrevision_rollback", args=[number]),
        }
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        rollback = self.admin_site.admin_view(self.rollback_view)
        name = "authgate_policyrevision_rollback"
        return [path("<int:number>/rollback/", rollback, name=name), *super().get_urls()]

    def rollback_view(self, request: HttpRequest, number: int) -> HttpResponse:
        if not request.user.has_perm(ROLLBACK):
            raise PermissionDenied
        number = self._number(request, str(number))
        if request.method == "POST":
            return _roll_back(request, number)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Roll back to revision {number}",
            "number": number,
            **_differences(number),
        }
        return TemplateResponse(request, "admin/authgate/rollback.html", context)

    def _number(self, request: HttpRequest, unverified_number: str) -> int:
        found = self.get_object(request, unverified_number)
        if found is None:
            raise Http404
        return found.number


def _roll_back(request: HttpRequest, number: int) -> HttpResponse:
    before = live_number()
    try:
        published = revisions.rollback(number, operator_of(request))
    except PolicyInvalid as invalid:
        show_refusal(request, invalid, f"revision {number} would not be valid today")
        return HttpResponseRedirect(reverse("admin:authgate_policyrevision_change", args=[number]))
    say_publication(request, published, before)
    return HttpResponseRedirect(reverse("admin:authgate_policyrevision_changelist"))


def _differences(number: int) -> dict[str, Any]:
    """What this revision changed, and what has changed since then."""
    live = live_number()
    earlier = PolicyRevision.objects.filter(number__lt=number).order_by("-number").first()
    previous = earlier.number if earlier else 0
    return {
        "live": live,
        "previous": previous,
        "changes": _changes(previous, number),
        "changes_to_live": _changes(live, number),
    }


def _changes(old: int, new: int) -> list[str]:
    if old == new:
        return []
    try:
        lines = revisions.describe_changes(document_of(old), document_of(new))
    except PolicyInvalid as invalid:
        lines = ["A revision cannot be read by this version:", *map(str, invalid.errors)]
    return shorten(lines, SHOWN_CHANGES)
