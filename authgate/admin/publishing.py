"""Every edit of policy rows is published in the transaction that makes it, or it is not made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.contrib import messages
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import capfirst

from authgate.admin.typed import ModelAdmin
from authgate.admin.wording import sentence
from authgate.models.policy import PolicyRevision
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument, parse_stored
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import PowersRefused
from authgate.policy.revisions import Published
from authgate.sessions.operators import operator_of

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

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.actor = operator_of(request)  # of a class that was made for this request
        return form

    def get_fieldsets(self, request: HttpRequest, obj: M | None = None) -> Any:
        (title, options), *rest = super().get_fieldsets(request, obj)
        fields = [name for name in options["fields"] if name != "seen"]
        return [(title, {**options, "fields": [*fields, "seen"]}), *rest]

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
        published = revisions.publish(operator_of(request), f"{comment}: {detail}" if detail else comment)
        say_publication(request, published, before)

    def _named(self, verb: str, objects: Iterable[M]) -> str:
        names = [str(obj) for obj in objects]
        noun = self.opts.verbose_name if len(names) == 1 else self.opts.verbose_name_plural
        return f"{verb} {noun} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _publishing(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        if request.method != "POST":
            return view()
        try:
            with transaction.atomic():
                return view()
        except PolicyInvalid as invalid:
            show_refusal(request, invalid, "the policy would not be valid")
            return HttpResponseRedirect(request.path)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        to_delete, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, forbidden, shorten(protected or self._refusals(objs, request))

    def _refusals(self, objects: Iterable[M], request: HttpRequest) -> list[str]:
        """Why the policy without these would not be published: the deletion is tried, and taken back."""
        keys, invalid = [row.pk for row in objects], None
        with transaction.atomic():
            self.model._default_manager.filter(pk__in=keys).delete()
            try:
                revisions.compile_for(operator_of(request))
            except PolicyInvalid as refused:
                invalid = refused
            lines = [sentence(fault) for fault in invalid.errors] if invalid else []
            transaction.set_rollback(True)
        return lines


def document_of(number: int) -> PolicyDocument:
    return parse_stored(PolicyRevision.objects.get(number=number).document) if number else PolicyDocument()


def live_number() -> int:
    return PolicyRevision.objects.order_by("-number").values_list("number", flat=True).first() or 0


def say_publication(request: HttpRequest, published: Published, before: int) -> None:
    number = published.revision.number
    if number == before:
        messages.success(request, f"The policy is what it was: revision {before} stays live.")
    else:
        messages.success(request, f"Published revision {number}: it is live.")
    for line in published.warnings:
        messages.warning(request, f"{capfirst(line)}.")


def show_refusal(request: HttpRequest, invalid: PolicyInvalid, why: str) -> None:
    why = "this is not yours to change" if isinstance(invalid, PowersRefused) else why
    for line in (f"Nothing was changed: {why}.", *shorten(map(str, invalid.errors))):
        messages.error(request, line)


def shorten(lines: Iterable[str], most: int = SHOWN_ERRORS) -> list[str]:
    every = list(lines)
    return every if len(every) <= most else [*every[:most], f"… and {len(every) - most} more"]
