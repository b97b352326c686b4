"""Errors of the API as RFC 9457 problems. Those about what was sent name the field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from authgate.api.schema import FieldError
from authgate.observe.access_log import Record
from authgate.pages.outages import say_outage
from authgate.policy.errors import Place, PolicyInvalid
from authgate.policy.powers import PowersRefused
from authgate.state.trouble import is_outage

MEDIA_TYPE = "application/problem+json"
NEEDS_SUPERUSER = "A superuser is needed for that. Nothing was changed."
_SENT_AS = {"__all__": "", "sealed_client_secret": "client_secret", "expires_at": "days"}
_NOT_YOURS = "You may not do this."
_AWAY = "The database is busy or away. Nothing was changed; try again."


class Problem(exceptions.APIException):
    """`headers` are added to the response."""

    def __init__(
        self, status: int, detail: str, errors: Iterable[FieldError] = (), headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.text = detail
        self.errors = list(errors)
        self.headers = headers or {}


def invalid(errors: Iterable[FieldError]) -> Problem:
    return Problem(422, "What was sent is not valid. Nothing was changed.", errors)


def conflict(errors: Iterable[FieldError]) -> Problem:
    return Problem(409, "Something else stands against it. Nothing was changed.", errors)


def precondition_failed() -> Problem:
    return Problem(412, "It is not what it was: get it again, and make your change to that. Nothing was changed.")


def policy_errors(refused: PolicyInvalid, own: Place = ()) -> list[FieldError]:
    """`own`: the place in the policy of the object that was sent. Its fields are named by themselves."""
    return [FieldError(_field(error.place, own), error.message) for error in refused.errors]


def _field(place: Place, own: Place) -> str:
    if own and place[: len(own)] == own:
        return ".".join(map(str, place[len(own) :])) or "name"
    return ".".join(map(str, place))


def to_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """None: an error of ours, which Django logs and answers."""
    problem = _problem_of(error)
    if problem is None:
        if not is_outage(error):
            return None
        request = context["request"]._request
        record: Record | None = getattr(request, "scope", {}).get("state", {}).get("record")
        say_outage(error, record.request_id if record else "")
        problem = Problem(503, _AWAY)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.text,
    }
    if problem.errors:
        body["errors"] = msgspec.to_builtins(problem.errors)
    return Response(body, problem.status_code, headers=problem.headers, content_type=MEDIA_TYPE)


def _problem_of(error: Exception) -> Problem | None:
    match error:
        case Problem():
            return error
        case PowersRefused():
            return Problem(403, NEEDS_SUPERUSER, policy_errors(error))
        case PolicyInvalid():
            return invalid(policy_errors(error))
        case ValidationError():
            return invalid(field_errors(error))
        case PermissionDenied():
            return Problem(403, f"{error} Nothing was changed." if str(error) else _NOT_YOURS)
        case exceptions.PermissionDenied():
            return Problem(403, _NOT_YOURS)
        case Http404():
            return Problem(404, "There is nothing here.")
        case exceptions.MethodNotAllowed():
            return Problem(405, "This method is not served here.")
        case exceptions.APIException():
            return Problem(error.status_code, str(error.detail))
        case OperationalError():
            return Problem(503, _AWAY)
    return None


def field_errors(error: ValidationError) -> Iterator[FieldError]:
    if hasattr(error, "error_dict"):
        for field, messages in error.message_dict.items():
            yield from (FieldError(_SENT_AS.get(field, field), message) for message in messages)
    else:
        yield from (FieldError("", message) for message in error.messages)
