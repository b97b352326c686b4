from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from authgate.admin.confirmation import warn
from authgate.admin.fields import MappingField, WordsField, take_poll_token, token_field
from authgate.admin.site import changes_nothing
from authgate.admin.typed import ModelAdmin, ModelForm
from authgate.models.issuer_rules import ASYMMETRIC
from authgate.models.issuers import TokenIssuer, default_algorithms
from authgate.policy.powers import includes
from authgate.sessions.operators import offered_access, operator_of
from authgate.state import issuers
from authgate.state.issuer_diagnosis import diagnose


def _may_register(request: HttpRequest) -> bool:
    return includes(offered_access(request), issuers.NEEDED_ACCESS)


class RequiredClaimsField(MappingField):
    """`path = value` on each line; numbers, true and false as in JSON."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = {where: one if isinstance(one, str) else json.dumps(one) for where, one in value.items()}
        return super().prepare_value(value)

    def to_python(self, value: Any) -> Any:
        return {where: _value(text) for where, text in super().to_python(value).items()}


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str | int) else text


class IssuerForm(ModelForm[TokenIssuer]):
    audiences = WordsField(help_text="A token must be for one of these (its aud). Separated by spaces.")
    algorithms = forms.MultipleChoiceField(
        choices=[(name, name) for name in ASYMMETRIC],
        widget=forms.CheckboxSelectMultiple,
        initial=default_algorithms,
        help_text="Of the signature.",
    )
    required_scopes = WordsField(required=False, help_text="A token must have all of these. Separated by spaces.")
    required_claims = RequiredClaimsField(
        required=False, help_text="A token must have these values, or lists with them: repository = example/app"
    )
    claim_mapping = MappingField(required=False, help_text=TokenIssuer._meta.get_field("claim_mapping").help_text)
    client_secret = forms.CharField(
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Never shown again. Empty: stays as it is.",
    )
    poll_token = token_field()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in {
            "issuer",
            "audiences",
            "required_scopes",
            "jwks_url",
            "introspection_endpoint",
            "poll_endpoint",
        } & set(self.fields):
            self.fields[name].widget.attrs["class"] = "vLargeTextField"

    def clean(self) -> Any:
        cleaned = super().clean() or {}
        if secret := cleaned.get("client_secret"):
            self.instance.sealed_client_secret = issuers.seal_client_secret(
                self.instance.slug or cleaned.get("slug", ""), secret
            )
        take_poll_token(self)
        return cleaned


@admin.register(TokenIssuer)
class TokenIssuerAdmin(ModelAdmin[TokenIssuer]):
    form = IssuerForm
    list_display = ["slug", "issuer", "strategy", "shown_audiences", "enabled"]
    list_filter = ["enabled", "strategy"]
    search_fields = ["slug", "issuer"]
    fieldsets = [
        (None, {"fields": ["slug", "issuer", "audiences", "strategy", "enabled"]}),
        (
            "What its tokens must be",
            {"fields": ["required_scopes", "required_claims", "typ", "dpop", "max_age", "leeway"]},
        ),
        ("Who its callers are", {"fields": ["claim_mapping"]}),
        ("Security events", {"classes": ["collapse"], "fields": ["poll_endpoint", "poll_token"]}),
        ("Keys", {"classes": ["collapse"], "fields": ["algorithms", "jwks_url", "pasted_keys", "ca_certificates"]}),
        (
            "Introspection",
            {
                "classes": ["collapse"],
                "fields": [
                    "introspection_endpoint", "client_id", "client_authentication", "client_secret",
                    "introspection_seconds",
                ],
            },
        ),
    ]  # fmt: skip

    # What would be refused is not offered.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return _may_register(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: TokenIssuer | None = None) -> bool:
        return _may_register(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: TokenIssuer | None = None) -> bool:
        return _may_register(request) and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: TokenIssuer | None = None) -> Any:
        return ["slug"] if obj else []

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?sealed_client_secret__startswith=" would tell a hidden field letter by letter.
        return lookup.partition("__")[0] in self.list_filter and super().lookup_allowed(lookup, value, request)

    @admin.display(description="audiences")
    def shown_audiences(self, issuer: TokenIssuer) -> str:
        return ", ".join(map(str, issuer.audiences))

    def save_model(self, request: HttpRequest, obj: TokenIssuer, form: Any, change: bool) -> None:
        if change and "enabled" in form.changed_data and not obj.enabled:
            warn(request, "issuer", f"All tokens of {obj.issuer} are refused at once, until it is enabled again.")
        issuers.save(obj, operator_of(request))
        live = "Its tokens are taken already." if obj.enabled else "Enable it once all is ok."
        self.message_user(request, f"Not tested yet: use “Test issuer”. {live}", messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: TokenIssuer) -> None:
        issuers.remove([obj], operator_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TokenIssuer]) -> None:
        issuers.remove(queryset, operator_of(request))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_view)
        return [path("<int:pk>/test/", view, name="authgate_tokenissuer_test"), *super().get_urls()]

    @changes_nothing
    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        issuer = self.get_object(request, str(pk))
        if issuer is None or request.method != "POST":
            raise Http404
        if not self.has_change_permission(request, issuer):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Test of {issuer}",
            "findings": diagnose(issuer, request.POST.get("token", "")),
            "back": reverse("admin:authgate_tokenissuer_change", args=[pk]),
            "back_to": "the issuer",
        }
        return TemplateResponse(request, "admin/authgate/connection.html", context)
