from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from authgate.admin.confirmation import warn
from authgate.admin.fields import WordsField
from authgate.admin.typed import ModelAdmin, ModelForm
from authgate.models.service_tokens import LONGEST_DAYS, ServiceToken, in_force
from authgate.policy import revisions
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import includes
from authgate.sessions.live import count
from authgate.sessions.operators import offered_access, operator_of
from authgate.state import service_tokens
from authgate.state.service_tokens import DEFAULT_DAYS, Wanted

_FIELDS = {"expires_at": "days"}


class ServiceTokenForm(ModelForm[ServiceToken]):
    """For a new one. Nothing of a token changes later."""

    days = forms.IntegerField(
        label="Expires in (days)", initial=DEFAULT_DAYS, min_value=1, max_value=LONGEST_DAYS,
        help_text=f"At most {LONGEST_DAYS}.",
    )  # fmt: skip
    roles = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    networks = WordsField(
        required=False,
        help_text="Addresses or CIDR blocks from which it may be used, separated by spaces. Empty: from everywhere.",
    )
    routes = WordsField(required=False, help_text="Names of routes, separated by spaces. Empty: all routes.")
    offers_power = False  # set by the admin for each request

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        names = _roles(with_power=self.offers_power)
        self.fields["roles"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]

    def clean(self) -> Any:
        super().clean()
        if not self.errors:
            try:
                service_tokens.check(self.wanted())
            except ValidationError as error:
                for field, messages in error.message_dict.items():
                    self.add_error(_FIELDS.get(field, field), messages)
            except PolicyInvalid as error:
                self.add_error(None, str(error))
        return self.cleaned_data

    def wanted(self) -> Wanted:
        entered = self.cleaned_data
        return Wanted(
            entered["name"], timedelta(days=entered["days"]), entered["roles"], entered["networks"], entered["routes"],
            entered["owner"],
        )  # fmt: skip

    def _post_clean(self) -> None:
        """Not by the row: what is wrong with it has been said beside the fields."""


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        days = service_tokens.WARNED_BEFORE.days
        return [("live", "in force"), ("soon", f"expires within {days} days"), ("over", "ended or expired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        match self.value():
            case "live":
                return queryset.filter(ended_at=None, expires_at__gt=now)
            case "soon":
                return queryset.filter(
                    ended_at=None, expires_at__gt=now, expires_at__lte=now + service_tokens.WARNED_BEFORE
                )
            case "over":
                return queryset.exclude(ended_at=None, expires_at__gt=now)
        return queryset


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("service", "of services"), ("personal", "of people")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(person__isnull=self.value() == "service")


@admin.register(ServiceToken)
class ServiceTokenAdmin(ModelAdmin[ServiceToken]):
    """Made for services here; ended here, those of people too. The token itself is on the page after saving alone."""

    form = ServiceTokenForm
    list_display = ["name", "shown_owner", "shown_roles", "shown_state", "expires_at", "shown_use"]
    list_filter = [StateFilter, KindFilter]
    list_select_related = ["person__provider"]
    search_fields = ["name", "owner", "person__email", "person__name", "person__provider_subject"]
    actions = ["end_selected"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServiceToken]:
        return super().get_queryset(request).defer("digest").order_by(F("ended_at").desc(nulls_first=True), "name")

    def get_fields(self, request: HttpRequest, obj: ServiceToken | None = None) -> Any:
        if obj is None:
            return ["name", "owner", "days", "roles", "networks", "routes"]
        return [
            "name", "person", "owner", "shown_state", "shown_roles", "shown_networks", "shown_routes", "created_at",
            "created_by", "expires_at", "shown_use", "ended_at", "shown_id",
        ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: ServiceToken | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        if obj is not None:
            return super().get_form(request, obj, change, form=ModelForm, **options)
        # What would be refused is not offered.
        form: Any = super().get_form(request, obj, change, **options)
        form.offers_power = includes(offered_access(request), "superuser")
        return form

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?digest__startswith=" would tell a hidden field letter by letter.
        is_ours = lookup in (StateFilter.parameter_name, KindFilter.parameter_name)
        return is_ours and super().lookup_allowed(lookup, value, request)

    def has_change_permission(self, request: HttpRequest, obj: ServiceToken | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ServiceToken | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ServiceToken, form: Any, change: bool) -> None:
        made = service_tokens.create(form.wanted(), operator_of(request))
        obj.pk = made.row.pk
        obj.refresh_from_db()
        request._authgate_made = made  # type: ignore[attr-defined]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        # Whichever button is pressed, the page after it shows the token.
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**only_save, **(extra_context or {})})

    def response_add(self, request: HttpRequest, obj: ServiceToken, post_url_continue: Any = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Service token {obj.name}",
            "made": request._authgate_made,  # type: ignore[attr-defined]
        }
        # A redirect could not show it.
        return TemplateResponse(request, "admin/authgate/service_token.html", context, status=201)

    @admin.action(description="End selected tokens", permissions=["change"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[ServiceToken]) -> None:
        live = list(in_force(timezone.now()).filter(pk__in=queryset.values("pk")))
        if live:
            names = ", ".join(str(token) for token in live[:20])
            used = sum(token.last_used_at is not None for token in live)
            warn(
                request,
                "tokens",
                f"{count(len(live), 'token')} will be refused everywhere: {names}{' …' if len(live) > 20 else ''}.",
                f"{used} of these {'was' if used == 1 else 'were'} in use.",
                "An ended token cannot be taken up again: make a new one.",
            )
        ended = service_tokens.end(ServiceToken.objects.filter(pk__in=queryset.values("pk")), operator_of(request))
        self.message_user(request, f"{count(ended, 'token')} ended: refused everywhere from now on.")

    @admin.display(description="state")
    def shown_state(self, token: ServiceToken) -> str:
        if token.ended_at is not None:
            return token.end_reason or "ended"
        return "in force" if token.expires_at > timezone.now() else "expired"

    @admin.display(description="last used", empty_value="never", ordering="last_used_at")
    def shown_use(self, token: ServiceToken) -> datetime | None:
        return token.last_used_at

    @admin.display(description="owner", empty_value="nobody")
    def shown_owner(self, token: ServiceToken) -> str | None:
        return token.owner or None

    @admin.display(description="roles")
    def shown_roles(self, token: ServiceToken) -> str:
        return ", ".join(token.roles) or "none"

    @admin.display(description="networks")
    def shown_networks(self, token: ServiceToken) -> str:
        return ", ".join(token.networks) or "everywhere"

    @admin.display(description="routes")
    def shown_routes(self, token: ServiceToken) -> str:
        return ", ".join(token.routes) or "all"

    @admin.display(description="token ID (jti)")
    def shown_id(self, token: ServiceToken) -> str:
        return token.token_id


def _roles(*, with_power: bool) -> list[str]:
    try:
        roles = revisions.live_powers().roles
    except PolicyInvalid:
        return []
    return [name for name, role in sorted(roles.items()) if with_power or role.admin == "none"]
