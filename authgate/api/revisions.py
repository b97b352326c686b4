"""The numbered revisions of the policy: what each changed, and publishing an earlier one again."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api import problems
from authgate.api.bodies import show
from authgate.api.callers import Caller
from authgate.api.conditions import answer
from authgate.api.lists import PAGE, answer_page, number_of, text
from authgate.api.publishing import DRY_RUN, Changed, publishing
from authgate.api.schema import Operation, Parameter
from authgate.api.views import ApiView
from authgate.models.policy import PolicyRevision
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument, parse_stored, to_plain
from authgate.policy.errors import PolicyInvalid
from authgate.policy.schema import Strict

_PERMISSION = "policyrevision"
_MOST = 2**31 - 1
NUMBER = {"type": "integer", "minimum": 1, "maximum": _MOST}


class Revision(Strict, frozen=True):
    number: int
    created_at: str
    author: str
    comment: str
    live: bool


class Difference(Strict, frozen=True):
    """The changes from one revision to another, in words; 0 is the empty policy before the first one."""

    old: int
    new: int
    changes: tuple[str, ...]


class RevisionList(ApiView):
    operations = {
        "get": Operation(
            "All revisions, the newest first.", "Revision", parameters=(*PAGE, text("author", "By this author.")),
            is_list=True,
        )
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        self.caller.require_view(_PERMISSION)
        rows, newest = PolicyRevision.objects.order_by("-number").defer("document"), revisions.latest()
        if (author := request.query_params.get("author")) is not None:
            rows = rows.filter(author=author)
        return answer_page(request, rows, lambda row: show(_revision(row, newest)))


class RevisionEntry(ApiView):
    path_schemas = {"number": NUMBER}
    operations = {"get": Operation("One revision with its policy.", "RevisionWithPolicy", has_tag=True)}

    def get(self, request: Request, number: int) -> Response:
        self.caller.require_view(_PERMISSION)
        row = _row(number)
        policy = to_plain(_document(row))
        return answer(request, {**show(_revision(row, revisions.latest())), "policy": policy})


class RevisionDiff(ApiView):
    path_schemas = {"number": NUMBER}
    operations = {
        "get": Operation(
            "What this revision changed: against the one before it, or another.", "Difference",
            parameters=(Parameter("against", {**NUMBER, "minimum": 0}, "Another revision."),),
        )
    }  # fmt: skip

    def get(self, request: Request, number: int) -> Response:
        self.caller.require_view(_PERMISSION)
        row = _row(number)
        earlier = PolicyRevision.objects.filter(number__lt=number).order_by("-number").first()
        other = number_of(request, "against", earlier.number if earlier else 0, 0, _MOST)
        before = _document(_row(other)) if other else PolicyDocument()
        lines = revisions.describe_changes(before, _document(row))
        return Response(show(Difference(old=other, new=number, changes=tuple(lines))))


class RevisionRollback(ApiView):
    path_schemas = {"number": NUMBER}
    operations = {"post": Operation("Publish an earlier revision again.", "Publication", parameters=(DRY_RUN,))}

    def post(self, request: Request, number: int) -> Response:
        def roll_back(caller: Caller, _: PolicyDocument) -> Changed:
            caller.require(f"change_{_PERMISSION}")
            _row(number)
            return Changed(revisions.rollback(number, caller.actor))

        return publishing(request, roll_back)


def _row(number: int) -> PolicyRevision:
    row = PolicyRevision.objects.filter(number=number).first() if number <= _MOST else None
    if row is None:
        raise problems.Problem(404, f"There is no revision {number}.")
    return row


def _document(row: PolicyRevision) -> PolicyDocument:
    try:
        return parse_stored(row.document)
    except PolicyInvalid as unreadable:
        raise problems.conflict(problems.policy_errors(unreadable)) from unreadable


def _revision(row: PolicyRevision, newest: PolicyRevision | None) -> Revision:
    return Revision(
        number=row.number,
        created_at=row.created_at.isoformat(),
        author=row.author,
        comment=row.comment,
        live=newest is not None and row.number == newest.number,
    )
