"""Parts of the policy by name: upstreams, roles, limits and routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api import problems
from authgate.api.bodies import read_map, show
from authgate.api.callers import Caller
from authgate.api.conditions import answer, check_conditions
from authgate.api.lists import PAGE, Filter, answer_page, matching
from authgate.api.publishing import DRY_RUN, Changed, publishing, removal
from authgate.api.schema import FieldError, Operation, Parameter
from authgate.api.views import ApiView
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument, from_plain, to_plain
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import PowersRefused

Shown = dict[str, Any]
NAME: Shown = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}


class Section(NamedTuple):
    key: str  # in the document
    noun: str
    permission: str  # the name of its model in Django's permissions
    component: str  # in the OpenAPI document
    parameters: tuple[Parameter, ...]  # those of the filters
    filters: Mapping[str, Filter]

    def of(self, document: PolicyDocument) -> list[Shown]:
        entries = getattr(document, self.key)
        if isinstance(entries, tuple):
            return [show(entry) for entry in entries]
        return [{"name": name, **show(entry)} for name, entry in entries.items()]

    def find(self, document: PolicyDocument, name: str) -> Shown | None:
        return next((shown for shown in self.of(document) if shown["name"] == name), None)

    def put(self, document: PolicyDocument, name: str, entry: dict[str, Any]) -> PolicyDocument:
        """The policy with this entry in the place of the one of its name, or as the last. Raises PolicyInvalid."""
        plain = to_plain(document)
        entries = plain[self.key]
        if isinstance(entries, dict):
            entries[name] = {key: value for key, value in entry.items() if key != "name"}
        else:
            at = next((i for i, route in enumerate(entries) if route["name"] == name), len(entries))
            plain[self.key] = [*entries[:at], {**entry, "name": name}, *entries[at + 1 :]]
        return from_plain(plain)

    def remove(self, document: PolicyDocument, name: str) -> PolicyDocument:
        plain = to_plain(document)
        entries = plain[self.key]
        if isinstance(entries, dict):
            del entries[name]
        else:
            plain[self.key] = [entry for entry in entries if entry["name"] != name]
        return from_plain(plain)


class SectionView(ApiView):
    section: ClassVar[Section]

    def found(self, document: PolicyDocument, name: str) -> Shown:
        shown = self.section.find(document, name)
        if shown is None:
            raise problems.Problem(404, f"There is no {self.section.noun} of this name.")
        return shown


class SectionList(SectionView):
    def get(self, request: Request) -> Response:
        self.caller.require_view(self.section.permission)
        every = self.section.of(revisions.live_document())
        return answer_page(request, matching(request, every, self.section.filters), lambda shown: shown)


class SectionEntry(SectionView):
    path_schemas = {"name": NAME}

    def get(self, request: Request, name: str) -> Response:
        self.caller.require_view(self.section.permission)
        return answer(request, self.found(revisions.live_document(), name))

    def put(self, request: Request, name: str) -> Response:
        entry = read_map(self.sent)
        if entry.get("name", name) != name:
            raise problems.invalid([FieldError("name", "must be the name in the address; leave it out")])
        return publishing(request, lambda caller, live: self._put(request, caller, live, name, entry))

    def delete(self, request: Request, name: str) -> Response:
        return publishing(request, lambda caller, live: self._delete(request, caller, live, name))

    def _put(self, request: Request, caller: Caller, live: PolicyDocument, name: str, entry: dict[str, Any]) -> Changed:
        section, before = self.section, self.section.find(live, name)
        caller.require(f"{'change' if before else 'add'}_{section.permission}")
        try:
            document = section.put(live, name, entry)
            check_conditions(request, before)
            comment = f"{'changed' if before else 'added'} {section.noun} {name}"
            published = revisions.replace(document, caller.actor, comment, allow_empty=True)
        except PolicyInvalid as refused:
            raise _refusal(refused, (section.key, name)) from refused
        return Changed(published, answer(request, self.found(document, name), 200 if before else 201))

    def _delete(self, request: Request, caller: Caller, live: PolicyDocument, name: str) -> Changed:
        section = self.section
        caller.require(f"delete_{section.permission}")
        check_conditions(request, self.found(live, name))
        try:
            document = section.remove(live, name)
            comment = f"deleted {section.noun} {name}"
            return removal(revisions.replace(document, caller.actor, comment, allow_empty=True))
        except PowersRefused:
            raise
        except PolicyInvalid as refused:
            raise problems.conflict(problems.policy_errors(refused)) from refused


def views_of(section: Section) -> tuple[type[SectionList], type[SectionEntry]]:
    name, shown = section.component, f"Named{section.component}"
    every = Operation(
        f"All of the policy's {section.noun}s.", shown, parameters=(*PAGE, *section.parameters), is_list=True
    )
    entry = {
        "get": Operation(f"One {section.noun}.", shown, has_tag=True),
        "put": Operation(
            f"Make this {section.noun}, or set it to what is sent.",
            shown, takes=f"{name}Input", parameters=(DRY_RUN,), statuses=(200, 201), has_tag=True, is_trial=True,
        ),
        "delete": Operation(
            f"Delete this {section.noun}.", "Publication", parameters=(DRY_RUN,), statuses=(200, 204), has_tag=True
        ),
    }  # fmt: skip
    return (
        type(f"{name}List", (SectionList,), {"section": section, "operations": {"get": every}}),
        type(f"{name}Entry", (SectionEntry,), {"section": section, "operations": entry}),
    )


def _refusal(refused: PolicyInvalid, own: tuple[str, str]) -> problems.Problem:
    errors = problems.policy_errors(refused, own)
    if isinstance(refused, PowersRefused):
        return problems.Problem(403, problems.NEEDS_SUPERUSER, errors)
    return problems.invalid(errors)
