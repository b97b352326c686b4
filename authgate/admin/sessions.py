from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, ExpressionWrapper, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from authgate.admin.confirmation import ENDED, MAY_RETURN, warn
from authgate.admin.typed import ModelAdmin
from authgate.models.people import Person, Session
from authgate.sessions.browser import name_browser
from authgate.sessions.ending import end_sessions
from authgate.sessions.live import count, cut_off, is_live, signed_out
from authgate.sessions.operators import operator_of

END = "authgate.change_session"
_REASON = "ended in admin"
_OF_PERSON = "person__id__exact"


def end_all_of(request: HttpRequest, person: Person) -> str:
    """What was done, in words."""
    own = Session.objects.filter(person=person)
    live = cut_off(own).sessions
    if live:
        warn(
            request,
            "sessions",
            f"This ends {count(live, 'live session')} of {person}, in every browser.",
            ENDED,
            MAY_RETURN,
        )
    return f"{count(end_sessions(own, operator_of(request), _REASON), 'session')} of {person} ended."


def list_url(person: Person) -> str:
    return f"{reverse('admin:authgate_session_changelist')}?{_OF_PERSON}={person.pk}"


class LiveFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "live"), ("ended", "ended or timed out")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(goes_on=self.value() == "live")


@admin.register(Session)
class SessionAdmin(ModelAdmin[Session]):
    """Only ever ended here; the tokens it holds are on no page."""

    list_display = ["person", "host", "shown_browser", "shown_state", "last_seen_at", "address"]
    list_filter = [LiveFilter, "person__provider"]
    list_select_related = ["person__provider"]
    search_fields = ["person__email", "person__name", "person__provider_subject", "host", "address"]
    fields = [
        "person", "host", "shown_browser", "shown_state", "created_at", "last_seen_at", "expires_at", "ended_at",
        "address", "user_agent",
    ]  # fmt: skip
    readonly_fields = ["shown_browser", "shown_state"]
    actions = ["end_selected"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        goes_on = ExpressionWrapper(is_live(timezone.now()), output_field=BooleanField())
        sessions = Session.objects.defer("sealed_id_token", "sealed_refresh_token", "claims").annotate(goes_on=goes_on)
        return sessions.order_by(*self.get_ordering(request))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-goes_on", "-last_seen_at")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        is_ours = lookup in (LiveFilter.parameter_name, _OF_PERSON) or lookup.startswith("person__provider__")
        return is_ours and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    @admin.display(description="browser")
    def shown_browser(self, session: Session) -> str:
        return name_browser(session.user_agent)

    @admin.display(description="state")
    def shown_state(self, session: Session) -> str:
        if session.goes_on:  # type: ignore[attr-defined]
            return "live"
        return "timed out" if session.ended_at is None else session.end_reason or "ended"

    @admin.action(description="End selected sessions", permissions=["change"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        whom = cut_off(queryset)
        if whom.sessions:
            warn(request, "sessions", signed_out(whom), ENDED, MAY_RETURN)
        ended = end_sessions(queryset, operator_of(request), _REASON)
        self.message_user(request, f"{count(ended, 'session')} ended: refused everywhere from now on.")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_view)
        return [path("<path:object_id>/end/", view, name="authgate_session_end"), *super().get_urls()]

    def end_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        session = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request):
            raise PermissionDenied
        if session is None:
            raise Http404
        if request.method == "POST":
            self._end(request, session)
        return HttpResponseRedirect(reverse("admin:authgate_session_change", args=[object_id]))

    def _end(self, request: HttpRequest, session: Session) -> None:
        own = Session.objects.filter(pk=session.pk)
        if cut_off(own).sessions:
            where = f" at {session.host}" if session.host else ""
            others = cut_off(Session.objects.filter(person=session.person_id).exclude(pk=session.pk)).sessions
            warn(
                request,
                "sessions",
                f"This ends 1 live session of {session.person}: {name_browser(session.user_agent)}{where}.",
                f"{count(others, 'other live session')} of this person will go on.",
                ENDED,
                MAY_RETURN,
            )
        ended = end_sessions(own, operator_of(request), _REASON)
        self.message_user(request, f"{count(ended, 'session')} ended.")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        session = self.get_object(request, unquote(object_id))
        context: dict[str, Any] = {}
        if session is not None and self.has_change_permission(request):
            live = cut_off(Session.objects.filter(person=session.person_id)).sessions
            context = {"may_end": session.goes_on, "live_sessions": live}  # type: ignore[attr-defined]
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})
