from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from authgate.admin.confirmation import signed_out, warn
from authgate.admin.typed import ModelAdmin
from authgate.models.trust import RevokedToken, SigningKey
from authgate.sessions.live import count, cut_off
from authgate.sessions.operators import operator_of
from authgate.state import revocation, signing_keys


@admin.register(SigningKey)
class SigningKeyAdmin(ModelAdmin[SigningKey]):
    """Keys are made here and retired here; neither half of one is ever shown or edited."""

    list_display = ["kid", "algorithm", "purpose", "created_at", "retired_at"]
    list_filter = ["purpose", "algorithm"]
    actions = ["retire"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SigningKey]:
        return super().get_queryset(request).defer("private_key")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # "?private_key__startswith=" would tell a hidden field letter by letter.
        return lookup.partition("__")[0] in self.list_filter and super().lookup_allowed(lookup, value, request)

    def get_fields(self, request: HttpRequest, obj: SigningKey | None = None) -> Any:
        return ["purpose", "algorithm"] if obj is None else ["kid", "algorithm", "purpose", "created_at", "retired_at"]

    def has_change_permission(self, request: HttpRequest, obj: SigningKey | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SigningKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: SigningKey, form: Any, change: bool) -> None:
        purpose, algorithm = SigningKey.Purpose(obj.purpose), SigningKey.Algorithm(obj.algorithm)
        obj.pk = signing_keys.create(purpose, algorithm, operator_of(request)).pk
        obj.refresh_from_db()
        self.message_user(request, "It signs from now on. The older keys go on verifying until retired.")

    @admin.action(description="Retire selected keys: what they signed is no longer accepted", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[SigningKey]) -> None:
        keys = list(queryset.filter(retired_at=None))
        if keys:
            warn(request, "keys", *_effects(keys), signing_keys.FOR_GOOD)
        retired = count(signing_keys.retire(keys, operator_of(request)), "key")
        self.message_user(request, f"{retired} retired. A purpose left without a key gets a new one.", messages.SUCCESS)


def _effects(keys: list[SigningKey]) -> Iterator[str]:
    yield f"{count(len(keys), 'key')} will be retired: {', '.join(key.kid for key in keys)}."
    purposes = {key.purpose for key in keys}
    if SigningKey.Purpose.TOKENS in purposes:
        yield signed_out(cut_off(signing_keys.sessions_signed_by(keys)))
        yield "Access tokens that these keys signed are refused too. The gateway does not know how many there are."
    if SigningKey.Purpose.ASSERTIONS in purposes:
        yield "Services refuse assertions signed with these keys as soon as they fetch the key set again."


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
