from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from authgate.admin.confirmation import ENDED, warn
from authgate.admin.typed import ModelAdmin, ModelForm
from authgate.models.trust import MintedToken, Revocation, RevokedToken, SigningKey
from authgate.sessions import revoking
from authgate.sessions.key_ends import effects_of_retiring
from authgate.sessions.live import count, cut_off, signed_out
from authgate.sessions.operators import operator_of
from authgate.state import revocation, signing_keys
from authgate.state.minting import unexpired


class RevocationForm(ModelForm[Revocation]):
    def clean(self) -> dict[str, Any] | None:
        if bool(self.cleaned_data.get("subject")) == bool(self.cleaned_data.get("issuer")):
            raise ValidationError("Enter a subject or an issuer.")
        slug = self.cleaned_data.get("issuer")
        if slug and not revoking.is_issuer(slug):
            self.add_error("issuer", "There is no such token issuer.")
        return super().clean()

    def validate_unique(self) -> None:
        """The revocation that is there is extended."""

    def validate_constraints(self) -> None:
        """The same."""


class SigningKeyForm(ModelForm[SigningKey]):
    at_once = forms.BooleanField(
        required=False,
        label="sign at once",
        help_text="Otherwise it signs in an hour, when services have fetched the key set again. Until they have, a "
        "service refuses what a new key has signed.",
    )

    def clean(self) -> dict[str, Any] | None:
        if signing_keys.in_files(SigningKey.Purpose(self.cleaned_data.get("purpose", SigningKey.Purpose.ASSERTIONS))):
            self.add_error("purpose", "The keys of tokens are in files: AUTHGATE_SIGNING_KEY_FILE.")
        return super().clean()


@admin.register(SigningKey)
class SigningKeyAdmin(ModelAdmin[SigningKey]):
    """Keys are made here and retired here; neither half of one is ever shown or edited."""

    list_display = ["kid", "algorithm", "purpose", "signs_from", "last_expires_at", "retired_at"]
    form = SigningKeyForm
    list_filter = ["purpose", "algorithm"]
    actions = ["retire"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SigningKey]:
        return super().get_queryset(request).defer("private_key")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?private_key__startswith=" would tell a hidden field letter by letter.
        return lookup.partition("__")[0] in self.list_filter and super().lookup_allowed(lookup, value, request)

    def get_fields(self, request: HttpRequest, obj: SigningKey | None = None) -> Any:
        if obj is None:
            return ["purpose", "algorithm", "at_once"]
        return ["kid", "algorithm", "purpose", "created_at", "signs_from", "last_expires_at", "retired_at"]

    def has_change_permission(self, request: HttpRequest, obj: SigningKey | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SigningKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: SigningKey, form: Any, change: bool) -> None:
        purpose, algorithm = SigningKey.Purpose(obj.purpose), SigningKey.Algorithm(obj.algorithm)
        lead = timedelta() if form.cleaned_data["at_once"] else signing_keys.LEAD
        obj.pk = signing_keys.create(purpose, algorithm, operator_of(request), lead=lead).pk
        obj.refresh_from_db()
        when = "now" if not lead else f"{obj.signs_from:%H:%M} UTC"
        self.message_user(
            request,
            f"It is published, and signs from {when} on. Older keys verify until everything that they have signed has "
            "expired, then they retire.",
        )

    @admin.action(description="Retire selected keys: what they signed is no longer accepted", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[SigningKey]) -> None:
        keys = list(queryset.filter(retired_at=None))
        if keys:
            warn(request, "keys", *effects_of_retiring(keys), signing_keys.FOR_GOOD)
        retired = count(signing_keys.retire(keys, operator_of(request)), "key")
        self.message_user(request, f"{retired} retired. A purpose left without a key gets a new one.", messages.SUCCESS)


@admin.register(RevokedToken)
class RevokedTokenAdmin(ModelAdmin[RevokedToken]):
    """Only added to: taking one back would make its token good again. Expired ones are removed by themselves."""

    list_display = ["jti", "reason", "created_at", "expires_at"]
    search_fields = ["jti", "reason"]

    def get_fields(self, request: HttpRequest, obj: RevokedToken | None = None) -> Any:
        return ["jti", "reason"] if obj is None else ["jti", "reason", "created_at", "expires_at"]

    def save_model(self, request: HttpRequest, obj: RevokedToken, form: Any, change: bool) -> None:
        obj.pk = revocation.revoke(obj.jti, obj.reason, operator_of(request)).pk
        obj.refresh_from_db()

    def has_change_permission(self, request: HttpRequest, obj: RevokedToken | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: RevokedToken | None = None) -> bool:
        return False


@admin.register(Revocation)
class RevocationAdmin(ModelAdmin[Revocation]):
    """Only added to, as the revoked tokens."""

    list_display = ["__str__", "issued_before", "reason", "expires_at"]
    search_fields = ["subject", "issuer", "reason"]

    def get_fields(self, request: HttpRequest, obj: Revocation | None = None) -> Any:
        shown = ["subject", "issuer", "reason"]
        return shown if obj is None else [*shown, "issued_before", "created_at", "expires_at"]

    def get_form(self, request: HttpRequest, obj: Revocation | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **({"form": RevocationForm} if obj is None else {}), **kwargs)

    def save_model(self, request: HttpRequest, obj: Revocation, form: Any, change: bool) -> None:
        of_subject = bool(obj.subject)
        sessions = revoking.sessions_of(obj.subject) if of_subject else revoking.sessions_from(obj.issuer)
        warn(
            request,
            "revocation",
            f"Every token issued until now of {obj} will be refused, for good.",
            signed_out(cut_off(sessions)),
            ENDED,
        )
        revoke = revoking.revoke_subject if of_subject else revoking.revoke_issuer
        ended = revoke(obj.subject or obj.issuer, obj.reason, operator_of(request))
        obj.pk = Revocation.objects.get(subject=obj.subject, issuer=obj.issuer).pk
        obj.refresh_from_db()
        self.message_user(request, f"{count(ended, 'session')} ended; what is running ends within a second.")

    def has_change_permission(self, request: HttpRequest, obj: Revocation | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Revocation | None = None) -> bool:
        return False


@admin.register(MintedToken)
class MintedTokenAdmin(ModelAdmin[MintedToken]):
    """Those that have not expired. The tokens themselves are kept nowhere."""

    list_display = ["subject", "jti", "shown_roles", "expires_at", "minted_at", "minted_by"]
    search_fields = ["subject", "jti", "minted_by"]
    actions = ["revoke_selected"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[MintedToken]:
        return unexpired().order_by(*self.get_ordering(request) or ("-minted_at",))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: MintedToken | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: MintedToken | None = None) -> bool:
        return False

    @admin.display(description="roles")
    def shown_roles(self, token: MintedToken) -> str:
        return ", ".join(token.roles)

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[MintedToken]) -> None:
        tokens = list(queryset)
        subjects = ", ".join(sorted({token.subject for token in tokens}))
        warn(request, "tokens", f"{count(len(tokens), 'access token')} will be refused, for good: of {subjects}.")
        revoked = revocation.revoke_all([token.jti for token in tokens], "revoked in the list", operator_of(request))
        self.message_user(request, f"{count(revoked, 'token')} revoked: refused everywhere from now on.")
