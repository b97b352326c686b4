"""Django's accounts. Those of people who sign in at a provider are named by it, and have no power of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse

from authgate.admin import operators
from authgate.admin.confirmation import warn
from authgate.admin.deletion import CarefulDeletion
from authgate.sessions.sso_accounts import PREFIX, find_objection

admin.site.unregister([User, Group])


class _SuperusersOnly:
    """Whoever may change accounts, groups or passwords can give themselves all there is: staff may look at most."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser


@admin.register(Group)
class AccountGroupAdmin(_SuperusersOnly, GroupAdmin):
    pass


@admin.register(User)
class AccountAdmin(_SuperusersOnly, CarefulDeletion, UserAdmin):  # type: ignore[type-arg]
    list_display = ["username", "email", "first_name", "last_name", "shown_access"]
    list_filter = ["is_active", "groups"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "operators": [*operators.local_operators(), *operators.operators_by_role()],
            "grants": operators.opening_grants(),
            "most_people": operators.MOST_PEOPLE,
        }
        # Grants, roles and people are theirs to see only by permissions of their own.
        shown = context if request.user.is_superuser else {}
        return super().changelist_view(request, {**shown, **(extra_context or {})})

    @admin.display(description="access to /admin/")
    def shown_access(self, account: User) -> str:
        if not account.is_active:
            return "deactivated"
        if account.username.startswith(PREFIX):
            return "by the roles of their sign-in"
        return "none" if not account.is_staff else "superuser" if account.is_superuser else "staff"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # The form would refuse their names; and what they may comes from their roles.
        fixed = ("username", "is_staff", "is_superuser") if obj and obj.username.startswith(PREFIX) else ()
        return [*super().get_readonly_fields(request, obj), *fixed]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change and "is_active" in form.changed_data and not obj.is_active:
            warn(request, "account", f"{obj} is signed out of /admin/ at once, and kept out until activated again.")
        super().save_model(request, obj, form, change)

    def find_objections(self, objects: Iterable[User]) -> list[str]:
        return [objection for account in objects if (objection := find_objection(account))]
