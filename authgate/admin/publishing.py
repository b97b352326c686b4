"""Every edit of policy rows is published in the transaction that makes it, or it is not made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from authgate import state
from authgate.admin.typed import ModelAdmin
from authgate.models import PolicyRevision
from authgate.policy import revisions
from authgate.policy.document import Grant, PolicyDocument, parse_stored
from authgate.policy.errors import PolicyError, PolicyInvalid
from authgate.views import unavailable

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=models.Model)
SHOWN_ERRORS = 10


class PolicyAdmin(ModelAdmin[M]):
    """For the models that make up the policy document."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._publishing(request, lambda: super(PolicyAdmin, self).changeform_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._publishing(request, lambda: super(PolicyAdmin, self).delete_view(request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._publishing(request, lambda: super(PolicyAdmin, self).changelist_view(request, *args, **kwargs))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        fields = ", ".join(name.replace("_", " ") for name in form.changed_data) if change else ""
        self.publish(request, f"{self._named('changed' if change else 'added', [form.instance])}", fields)

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        said = self._named("deleted", [obj])
        super().delete_model(request, obj)
        self.publish(request, said)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> None:
        said = self._named("deleted", queryset)
        super().delete_queryset(request, queryset)
        self.publish(request, said)

    def publish(self, request: HttpRequest, comment: str, detail: str = "") -> None:
        before = live_number()
        revision = revisions.publish(request.user.get_username(), f"{comment}: {detail}" if detail else comment)
        check_powers(request, before, revision)
        self.message_user(request, publication_message(revision, before), messages.SUCCESS)

    def _named(self, verb: str, objects: Iterable[M]) -> str:
        names = [str(obj) for obj in objects]
        noun = self.opts.verbose_name if len(names) == 1 else self.opts.verbose_name_plural
        return f"{verb} {noun} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _publishing(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        if request.method != "POST":
            return view()
        try:
            with transaction.atomic():
                # Whoever edits at the same time waits here, so that what a form has validated stays true
                # until it is published.
                state.lock("policy")
                return view()
        except PolicyInvalid as invalid:
            self.message_user(request, "Nothing was changed: the policy would not be valid.", messages.ERROR)
            show_errors(request, invalid.errors)
            return HttpResponseRedirect(request.path)
        except OperationalError:
            logger.exception("an edit of the policy was not made")
            return unavailable(request)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        to_delete, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, forbidden, shorten(protected)


def check_powers(request: HttpRequest, before: int, revision: PolicyRevision) -> None:
    """Who may be in /admin/, and as what, only a superuser says: otherwise staff could make itself one.

    Raises PermissionDenied, which takes the edit back with its transaction.
    """
    if not request.user.is_superuser and _powers(document_of(before)) != _powers(document_of(revision.number)):
        raise PermissionDenied("only a superuser may change which roles open /admin/, and who has them")


def _powers(document: PolicyDocument) -> tuple[Mapping[str, str], list[Grant]]:
    roles = {name: role.admin for name, role in document.roles.items() if role.admin != "none"}
    return roles, [grant for grant in document.grants if grant.role in roles]


def document_of(number: int) -> PolicyDocument:
    return parse_stored(PolicyRevision.objects.get(number=number).document) if number else PolicyDocument()


def live_number() -> int:
    return PolicyRevision.objects.order_by("-number").values_list("number", flat=True).first() or 0


def publication_message(revision: PolicyRevision, before: int) -> str:
    if revision.number == before:
        return f"The policy is what it was: revision {before} stays live."
    return f"Published revision {revision.number}: live within two seconds."


def show_errors(request: HttpRequest, errors: Iterable[PolicyError]) -> None:
    for line in shorten(map(str, errors)):
        messages.error(request, line)


def shorten(lines: Iterable[str], most: int = SHOWN_ERRORS) -> list[str]:
    every = list(lines)
    return every if len(every) <= most else [*every[:most], f"… and {len(every) - most} more"]
