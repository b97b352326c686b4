"""Pages of deletion that list what stands against it, in the place of their button."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone

from authgate.admin.publishing import shorten
from authgate.models.people import Person, Session
from authgate.models.service_tokens import ServiceToken, in_force
from authgate.sessions.live import cut_off

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    _Base = ModelAdmin[Any]
else:
    _Base = object


class CarefulDeletion(_Base):
    def find_objections(self, objects: Iterable[Any]) -> list[str]:
        raise NotImplementedError

    def find_people(self, objects: Iterable[Any]) -> QuerySet[Person]:
        """Those who go with them."""
        return Person.objects.none()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        to_delete, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        # Neither is deleted by itself, but they go with their person.
        forbidden = set(forbidden) - {Session._meta.verbose_name, ServiceToken._meta.verbose_name}
        people = self.find_people(objs)
        whom = cut_off(Session.objects.filter(person__in=people))
        if whom.sessions:
            counts = {**counts, "people signed out at once": whom.people, "live sessions ended": whom.sessions}
        if tokens := in_force(timezone.now()).filter(person__in=people).count():
            counts = {**counts, "personal tokens ended": tokens}
        return to_delete, counts, forbidden, shorten([*map(str, protected), *self.find_objections(objs)])

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusing(request, lambda: super(CarefulDeletion, self).delete_view(request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._refusing(request, lambda: super(CarefulDeletion, self).changelist_view(request, *args, **kwargs))

    def _refusing(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        """For what came up only since the page was made."""
        if request.method != "POST":
            return view()
        try:
            with transaction.atomic():
                return view()
        except ValidationError as refused:
            self.message_user(request, "Nothing was deleted.", messages.ERROR)
            for line in shorten(refused.messages):
                messages.error(request, line)
            return HttpResponseRedirect(request.path)
