"""The admin, in which operators' changes take turns and each is allowed or refused when its turn has come."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

from django.contrib import admin
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, URLResolver, path

from authgate.admin import confirmation
from authgate.admin.doctor import doctor_page
from authgate.models import versions
from authgate.pages.views import unavailable
from authgate.sessions.operators import operator_of, resolve_again

logger = logging.getLogger(__name__)

V = TypeVar("V", bound=Callable[..., Any])


def changes_nothing(view: V) -> V:
    """Marks a view whose POST takes no turn: it writes nothing that an operator edits, or waits for somebody else."""
    view.changes_nothing = True  # type: ignore[attr-defined]
    return view


class AdminSite(admin.AdminSite):
    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Who may post is asked twice: before the lock, which is not for strangers to take, and inside of it.

        Every permission that a view asks for is asked inside as well: who waited here while another operator took
        their role, their session or their account away has none of them any more.
        """
        checked = super().admin_view(view, cacheable)
        if getattr(view, "changes_nothing", False):
            return checked

        def in_turn(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if request.method in ("GET", "HEAD"):
                return view(request, *args, **kwargs)
            return _in_turn(request, lambda: checked(request, *args, **kwargs))

        return super().admin_view(update_wrapper(in_turn, view), cacheable)

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [path("doctor/", self.admin_view(self.doctor), name="doctor"), *super().get_urls()]

    @changes_nothing
    def doctor(self, request: HttpRequest) -> HttpResponse:
        return doctor_page(request, self.each_context(request))

    @changes_nothing
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().logout(request, extra_context)


def _in_turn(request: HttpRequest, post: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    try:
        with transaction.atomic():
            # One lock for all models, since one operator's edit of an account or a role decides what another may do
            # elsewhere. It is the policy's, which no sign-in ever takes.
            versions.lock("policy")
            resolve_again(request)
            operator = operator_of(request)
            access = operator.access()
            response = post()
            confirmation.warn_of_lost_access(request, access, operator.access())
            if asked := confirmation.find_unconfirmed(request):
                transaction.set_rollback(True)
    except OperationalError:
        logger.exception("a change in the admin was not made")
        return unavailable(request)
    return confirmation.confirmation_page(request, asked) if asked else response
