"""The policy: as a whole, and its parts that have names."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework.request import Request
from rest_framework.response import Response

from authgate.api.bodies import read_map
from authgate.api.callers import Caller
from authgate.api.conditions import answer, check_conditions
from authgate.api.lists import FLAGS as _FLAGS
from authgate.api.lists import choice, flag, flag_of, text
from authgate.api.publishing import DRY_RUN, Changed, publishing
from authgate.api.schema import Operation
from authgate.api.sections import Section
from authgate.api.views import ApiView
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument, parse_plain, to_plain
from authgate.policy.schema import Access, RoleAdmin

_ALLOW_EMPTY = flag("allow_empty", "Take a policy without routes although some are live.")
_MODELS = ("upstream", "role", "rolegrant", "ratelimit", "route")
_EVERYTHING = tuple(f"{verb}_{model}" for model in _MODELS for verb in ("add", "change", "delete"))


class PolicyView(ApiView):
    operations = {
        "get": Operation("The live policy, as in a policy file.", "PolicyDocument", has_tag=True),
        "put": Operation(
            "Replace the policy, whole or not at all.", "Publication", takes="PolicyInput",
            parameters=(DRY_RUN, _ALLOW_EMPTY), has_tag=True,
        ),
    }  # fmt: skip

    def get(self, request: Request) -> Response:
        for model in _MODELS:
            self.caller.require_view(model)
        return answer(request, to_plain(revisions.live_document()))

    def put(self, request: Request) -> Response:
        sent, may_be_empty = read_map(self.sent), bool(flag_of(request, "allow_empty"))

        def replace(caller: Caller, live: PolicyDocument) -> Changed:
            caller.require(*_EVERYTHING)
            document = parse_plain(sent)
            check_conditions(request, to_plain(live))
            return Changed(revisions.replace(document, caller.actor, "PUT /policy", allow_empty=may_be_empty))

        return publishing(request, replace)


def _has(*fields: str) -> Any:
    """Whether one of these texts has the wanted one in it, in any case."""
    return lambda shown, wanted: any(wanted.lower() in str(shown[field]).lower() for field in fields)


def _is(field: str) -> Any:
    return lambda shown, wanted: shown[field] == wanted


_SEARCH = text("q", "Only with this text.")
SECTIONS = {
    "upstreams": Section("upstreams", "upstream", "upstream", "Upstream", (_SEARCH,), {"q": _has("name", "targets")}),
    "roles": Section(
        "roles", "role", "role", "Role",
        (_SEARCH, choice("admin", get_args(RoleAdmin), "What the role opens.")),
        {"q": _has("name", "description"), "admin": _is("admin")},
    ),
    "limits": Section("rate_limits", "rate limit", "ratelimit", "RateLimit", (_SEARCH,), {"q": _has("name")}),
    "routes": Section(
        "routes", "route", "route", "Route",
        (
            _SEARCH, text("host", "Of this host."), choice("access", get_args(Access), "With this access."),
            text("upstream", "To this upstream."), text("role", "For this role."),
            text("rate_limit", "With this limit."), flag("enabled", "Enabled, or not."),
        ),
        {
            "q": _has("name", "host", "path"), "host": _is("host"), "access": _is("access"),
            "upstream": _is("upstream"), "role": lambda route, wanted: wanted in route["roles"],
            "rate_limit": _is("rate_limit"),
            "enabled": lambda route, wanted: route["enabled"] is _FLAGS.get(wanted),
        },
    ),
}  # fmt: skip
