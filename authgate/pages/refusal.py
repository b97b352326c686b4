"""The refusal page: a visitor's words and a way on. Operators also read what to mend."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.conf import settings
from django.template.loader import render_to_string

from authgate.gate.authenticate import recognize
from authgate.observe.access_log import Record
from authgate.oidc.next_url import safe_next
from authgate.own_hosts import exposed_host
from authgate.pages.words import SIGNED_OUT, Words, wait_in_words, words_for
from authgate.policy.powers import highest_access
from authgate.reason import Reason
from authgate.request import Identity, RequestFacts
from authgate.state.hosts import is_services
from authgate.state.snapshot import Snapshot
from authgate.wire.authority import is_loopback

_LOGOUT = f"{settings.AUTHGATE_AUTH_PREFIX}/logout"
# These may pass by themselves, so the same address is worth another try.
_MAY_PASS = frozenset((408, 429, 500, 502, 503, 504))
# The gate refuses these before it authenticates. Rate limits do too, but a page over the limit costs no more work.
_BEFORE_WHO = frozenset((Reason.NO_ROUTE, Reason.ROUTE_DISABLED))


class Refused(NamedTuple):
    """The refusal, and what an operator wants to know about it."""

    status: int
    reason: str
    hint: str  # for operators
    retry_after: int = 0
    route: str = ""  # for operators
    upstream: str = ""  # for operators
    missing_roles: tuple[str, ...] = ()
    words: Words | None = None  # where those of status and reason say too little


class Ways(NamedTuple):
    """Addresses that lead on; each may be empty."""

    sign_in: str = ""
    again: str = ""


def render_refusal(record: Record, refused: Refused, identity: Identity | None, ways: Ways) -> str:
    facts, snapshot = record.facts, record.snapshot
    identity = identity or _find_identity(record, refused.reason)
    is_form = facts is not None and facts.method == "POST"
    signed_out = is_form and bool(ways.sign_in)
    context: dict[str, Any] = {
        "words": SIGNED_OUT if signed_out else refused.words or words_for(refused.status, refused.reason),
        "wait": wait_in_words(refused.retry_after) if refused.retry_after else "",
        "request_id": record.request_id,
        "sign_in": ways.sign_in,
        "in_another_tab": is_form,
        "again": ways.again or _same_again(facts, refused.status),
        **_links(facts, snapshot, identity, refused),
        **_who(facts, identity),
        **_for_operators(facts, snapshot, identity, refused),
    }
    return render_to_string("refusal.html", context)


def is_operator(snapshot: Snapshot | None, identity: Identity | None) -> bool:
    """Whether a session's roles open /admin/. A bearer token opens nothing there."""
    if identity is None or not identity.session_id or snapshot is None:
        return False
    return highest_access(snapshot.document, identity.roles) != "none"


def is_own_machine(facts: RequestFacts | None) -> bool:
    """Whether this is a gateway for one machine, asked from there. A proxy in front may hide that it is not, so names
    of the policy are not shown for it.
    """
    if facts is None or exposed_host() is not None:
        return False
    return is_loopback(facts.authority.host) and is_loopback(facts.client)


def _for_operators(
    facts: RequestFacts | None, snapshot: Snapshot | None, identity: Identity | None, refused: Refused
) -> dict[str, Any]:
    """The template gets no hint and no name that this reader may not see."""
    operator = is_operator(snapshot, identity)
    visible = refused if operator else refused._replace(route="", upstream="")
    if operator or is_own_machine(facts):
        return {"refused": visible, "admin_url": _admin_url(facts, snapshot)}
    return {"refused": visible._replace(hint="")}


def _find_identity(record: Record, reason: str) -> Identity | None:
    """For a page alone, and with no more work than a request with this credential costs on a route."""
    if reason not in _BEFORE_WHO or record.facts is None or record.snapshot is None:
        return None
    return recognize(record.facts, record.snapshot)


def _same_again(facts: RequestFacts | None, status: int) -> str:
    """Empty for a form, which no link sends again, and for an address that is no safe link."""
    if facts is None or facts.method != "GET" or status not in _MAY_PASS:
        return ""
    here = _address(facts)
    return here if safe_next(here) == here else ""


def _address(facts: RequestFacts) -> str:
    return f"{facts.path}{facts.query.decode('ascii')}"


def _links(
    facts: RequestFacts | None, snapshot: Snapshot | None, identity: Identity | None, refused: Refused
) -> dict[str, str]:
    """The start page, and the dashboard on the gateway's own hosts."""
    if refused.reason == Reason.BAD_HOST:
        return {}
    start = "/" if facts is None or facts.path != "/" else ""
    if facts is None or snapshot is None or is_services(facts.authority.host, snapshot):
        return {"start": start}
    can_sign_in = identity is not None or snapshot.trust.has_providers
    return {"start": start, "dashboard": "/dashboard" if can_sign_in and facts.path != "/dashboard" else ""}


def _who(facts: RequestFacts | None, identity: Identity | None) -> dict[str, str]:
    if identity is None:
        return {}
    both = f"{identity.name} ({identity.email})" if identity.name and identity.email else ""
    return {
        "who": both or identity.name or identity.email or identity.subject,
        "sign_out_url": _LOGOUT if identity.by_cookie else "",
        # To come back to this page. After a form the browser's Referer names the page it stood on.
        "here": _address(facts) if facts is not None and facts.method == "GET" else "",
    }


def _admin_url(facts: RequestFacts | None, snapshot: Snapshot | None) -> str:
    if facts is None or is_services(facts.authority.host, snapshot):
        return f"{settings.AUTHGATE_PUBLIC_URL}/admin/"
    return "/admin/"
