from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from authgate.admin import sessions
from authgate.admin.confirmation import ENDED, warn
from authgate.admin.deletion import CarefulDeletion
from authgate.admin.fields import MappingField, WordsField, take_poll_token, token_field
from authgate.admin.site import changes_nothing
from authgate.admin.typed import ModelAdmin, ModelForm
from authgate.models.people import IdentityProvider, Person, Session, default_scopes
from authgate.models.provider_rules import ENDPOINTS
from authgate.models.service_tokens import ServiceToken
from authgate.oidc.diagnose import diagnose
from authgate.oidc.presets import PRESETS
from authgate.oidc.to_register import redirect_uris
from authgate.policy.powers import includes
from authgate.sessions import activation, deletion, registration
from authgate.sessions.live import CutOff, count, cut_off, cut_off_by, ended_tokens, signed_out
from authgate.sessions.operators import offered_access, operator_of


def _effects(provider: IdentityProvider, whom: CutOff) -> tuple[str, ...]:
    if provider.enabled:
        return (f"The stricter rules sign out {whom} within five minutes.", "Looser ones bring only some of them back.")
    tokens = ended_tokens(ServiceToken.objects.filter(person__provider=provider))
    return (f"Nobody can sign in at {provider} until it is enabled again.", signed_out(whom), ENDED, *tokens)


def _may_register(request: HttpRequest) -> bool:
    return includes(offered_access(request), registration.NEEDED_ACCESS)


# What the test of a connection is about.
_CONNECTION = {
    "kind",
    "issuer",
    "client_id",
    "client_secret",
    "public_client",
    "ca_certificates",
    "poll_endpoint",
    "poll_token",
    *ENDPOINTS,
}


class ProviderForm(ModelForm[IdentityProvider]):
    client_secret = forms.CharField(
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Never shown again. Empty: stays as it is.",
    )
    public_client = forms.BooleanField(
        required=False,
        help_text="The provider has given no client secret: PKCE alone proves who asks. One that is stored is removed.",
    )
    poll_token = token_field()
    scopes = WordsField(required=False, initial=default_scopes, help_text="Separated by spaces.")
    further_audiences = WordsField(
        required=False,
        help_text="Other audiences that its ID tokens may name beside the client ID, such as a project's ID. "
        "Separated by spaces. Usually none.",
    )
    allowed_domains = WordsField(
        required=False,
        label="Allowed e-mail domains",
        help_text="Such as example.com, separated by spaces. Empty: everybody the provider lets in.",
    )
    claim_mapping = MappingField(
        required=False,
        help_text="Where to find email, name and groups if the provider uses other claim names: groups = "
        "realm_access.roles. For OAuth 2.0 also sub: the claim that identifies a person and never changes.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        provider = self.instance
        self.initial.setdefault("public_client", bool(provider.pk and not provider.sealed_client_secret))

    def clean(self) -> Any:
        cleaned = super().clean()
        secret, public = self.cleaned_data.get("client_secret"), self.cleaned_data.get("public_client")
        if problem := registration.find_secret_problem(self.instance, secret or "", is_public=bool(public)):
            self.add_error("client_secret", problem)
        take_poll_token(self)
        return cleaned

    def save(self, commit: bool = True) -> Any:
        secret, public = self.cleaned_data["client_secret"], self.cleaned_data["public_client"]
        registration.take_secret(self.instance, secret, is_public=public)
        return super().save(commit)


@admin.register(IdentityProvider)
class IdentityProviderAdmin(CarefulDeletion, ModelAdmin[IdentityProvider]):
    form = ProviderForm
    list_display = ["name", "slug", "kind", "issuer", "enabled"]
    list_filter = ["enabled", "kind"]
    search_fields = ["name", "slug", "issuer"]
    readonly_fields = ["shown_redirect_uris"]
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    fieldsets = [
        (None, {"fields": ["slug", "name", "kind", "issuer", "enabled"]}),
        (
            "Client",
            {
                "fields": [
                    "client_id",
                    "client_secret",
                    "public_client",
                    "further_audiences",
                    "callbacks",
                    "shown_redirect_uris",
                ]
            },
        ),
        ("Who may sign in", {"fields": ["require_verified_email", "allowed_domains", "scopes", "claim_mapping"]}),
        ("Sessions", {"fields": ["session_idle", "session_lifetime", "logout"]}),
        ("Security events", {"classes": ["collapse"], "fields": ["poll_endpoint", "poll_token"]}),
        ("Endpoints and certificates", {"classes": ["collapse"], "fields": [*ENDPOINTS, "ca_certificates"]}),
    ]

    # What would be refused is not offered.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return _may_register(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: IdentityProvider | None = None) -> bool:
        return _may_register(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: IdentityProvider | None = None) -> bool:
        return _may_register(request) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: IdentityProvider, form: Any, change: bool) -> None:
        whom = cut_off_by(obj)
        if change and (whom.sessions or ("enabled" in form.changed_data and not obj.enabled)):
            warn(request, "provider", *_effects(obj, whom))
        registration.save(obj, operator_of(request))
        if set(form.changed_data) & _CONNECTION:
            live = "It is live already." if obj.enabled else "Enable it once all is ok."
            self.message_user(request, f"Not tested yet: use “Test connection”. {live}", messages.WARNING)

    def get_readonly_fields(self, request: HttpRequest, obj: IdentityProvider | None = None) -> Any:
        return [*self.readonly_fields, *(["slug"] if obj else [])]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?sealed_client_secret__startswith=" would tell a hidden field letter by letter.
        return lookup.partition("__")[0] in self.list_filter and super().lookup_allowed(lookup, value, request)

    @admin.display(description="redirect URIs to register")
    def shown_redirect_uris(self, provider: IdentityProvider) -> str:
        return format_html_join(SafeString("<br>"), "{}", [(uri,) for uri in redirect_uris(provider)])

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        name = request.GET.get("preset", "")
        preset = {"slug": name, **PRESETS[name].fields()} if name in PRESETS else {}
        # Nobody meets a provider that was not tested: it is enabled once its test says ok.
        return {"enabled": False, **preset}

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        chosen = PRESETS.get(request.GET.get("preset", ""))
        context = {"presets": PRESETS, "hint": chosen.hint if chosen else "", **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_view)
        return [path("<int:pk>/test/", view, name="authgate_identityprovider_test"), *super().get_urls()]

    @changes_nothing
    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        provider = self.get_object(request, str(pk))
        if provider is None or request.method != "POST":
            raise Http404
        if not self.has_change_permission(request, provider):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Connection to {provider}",
            "findings": diagnose(provider),
            "back": reverse("admin:authgate_identityprovider_change", args=[pk]),
        }
        return TemplateResponse(request, "admin/authgate/connection.html", context)

    def find_objections(self, objects: Iterable[IdentityProvider]) -> list[str]:
        people = Person.objects.filter(provider__in=list(objects)).select_related("provider")
        return deletion.find_objections(people.order_by("pk"))

    def find_people(self, objects: Iterable[IdentityProvider]) -> QuerySet[Person]:
        return Person.objects.filter(provider__in=list(objects))

    def delete_model(self, request: HttpRequest, obj: IdentityProvider) -> None:
        registration.remove([obj], operator_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[IdentityProvider]) -> None:
        registration.remove(queryset, operator_of(request))


@admin.register(Person)
class PersonAdmin(CarefulDeletion, ModelAdmin[Person]):
    """Made by signing in. Switching one off ends all of their sessions."""

    list_display = ["__str__", "name", "provider", "is_active", "last_login_at"]
    list_filter = ["is_active", "provider"]
    list_select_related = ["provider"]
    search_fields = ["email", "name", "provider_subject"]
    fields = ["provider", "provider_subject", "email", "name", "is_active", "created_at", "last_login_at"]
    readonly_fields = ["provider", "provider_subject", "email", "name", "created_at", "last_login_at"]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?sessions__sid__startswith=" would tell a hidden field letter by letter.
        return lookup.partition("__")[0] in self.list_filter and super().lookup_allowed(lookup, value, request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Person | None = None) -> Any:
        # What would be refused is not offered.
        kept_out = obj is not None and not obj.is_active
        fixed = kept_out and not includes(offered_access(request), activation.ACCESS_TO_ACTIVATE)
        return [*self.readonly_fields, *(["is_active"] if fixed else [])]

    def save_model(self, request: HttpRequest, obj: Person, form: Any, change: bool) -> None:
        if obj.is_active:
            activation.activate(obj, operator_of(request))
        else:
            if "is_active" in form.changed_data:
                whom = cut_off(Session.objects.filter(person=obj))
                warn(
                    request, "person", f"{obj} is kept out until activated again.", signed_out(whom), ENDED,
                    *ended_tokens(ServiceToken.objects.filter(person=obj)),
                )  # fmt: skip
            ended = activation.deactivate(obj, operator_of(request))
            self.message_user(request, f"{count(ended, 'session')} ended.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.end_sessions_view)
        return [path("<int:pk>/end-sessions/", view, name="authgate_person_end_sessions"), *super().get_urls()]

    def end_sessions_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        person = self.get_object(request, str(pk))
        if not request.user.has_perm(sessions.END):
            raise PermissionDenied
        if person is None:
            raise Http404
        if request.method == "POST":
            self.message_user(request, sessions.end_all_of(request, person))
        shows_person = self.has_view_permission(request, person)
        back = reverse("admin:authgate_person_change", args=[pk]) if shows_person else sessions.list_url(person)
        return HttpResponseRedirect(back)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        person = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if person is not None and request.user.has_perm(sessions.END):
            live = cut_off(Session.objects.filter(person=person)).sessions
            context = {"live_sessions": live, "list_url": sessions.list_url(person)}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def find_objections(self, objects: Iterable[Person]) -> list[str]:
        return deletion.find_objections(objects)

    def find_people(self, objects: Iterable[Person]) -> QuerySet[Person]:
        return Person.objects.filter(pk__in=[person.pk for person in objects])

    def delete_model(self, request: HttpRequest, obj: Person) -> None:
        self.delete_queryset(request, Person.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Person]) -> None:
        deletion.delete(queryset, operator_of(request))
