"""What the gateway serves itself: Django's pages, its static files, an optional static site."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

from authgate.decision import Denied
from authgate.observe.access_log import Record
from authgate.own_pages import API, METRICS, RESERVED
from authgate.pages import known_operators, local_sign_in
from authgate.pages.protected_resource import find_resource
from authgate.pages.responses import send_refusal, send_text
from authgate.pages.sign_in_pages import new_sign_in
from authgate.ratelimit import client_key
from authgate.ratelimit.sign_in import seconds_to_wait
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.security_headers import has_secret_address, without_referrer
from authgate.state.hosts import is_known, is_services
from authgate.state.snapshot import Snapshot
from authgate.threads import TooBusy, admin_turns, admin_turns_of_strangers
from authgate.wire.address import parse_address
from authgate.wire.authority import is_loopback
from authgate.wire.identity_headers import client_may_send
from authgate.wire.target import is_below
from proxy.pipeline import page_answers, page_bodies
from proxy.pipeline.budget import BudgetSpent, Loan
from proxy.pipeline.downstream import Receive, Send
from proxy.pipeline.page_answers import Answer
from proxy.pipeline.page_bodies import BodyRefused, ClientGone, read_body, read_no_body, replay
from proxy.pipeline.static_site import ASGIApp, Scope, StaticSite, django_static_roots
from proxy.server import health

# Seconds that a client over its limit, or that finds no place, waits for the answer; nothing that others need is held
# meanwhile. Answered at once, one that asks again at once on hundreds of connections would have all of the event loop
# (measured).
REFUSED_AFTER = 0.25

_NO_ROUTE = Reason.NO_ROUTE  # the look-up in the class costs more than a comparison
_auth = settings.AUTHGATE_AUTH_PREFIX
_reserved = (_auth, *RESERVED)
_in_turns = ("/admin/", f"{_auth}{API}/")

django_pages = cast(ASGIApp, ASGIHandler())
_assets = {
    prefix: StaticSite(*django_static_roots(), prefix=prefix, max_age=3600)
    for prefix in ("/static/", settings.STATIC_URL)
}
static_site = StaticSite(settings.AUTHGATE_STATIC_SITE) if settings.AUTHGATE_STATIC_SITE else None


Page = Callable[[Scope, Receive, Send, Record, RequestFacts], Awaitable[None]]


class OwnPage(NamedTuple):
    """The request is for the gateway itself; the page decides."""

    facts: RequestFacts
    snapshot: Snapshot | None


def is_reserved(facts: RequestFacts, snapshot: Snapshot | None) -> bool:
    """Whether this request is for the gateway itself: on a host that a route names, only the auth prefix is, and the
    metadata of its MCP servers.
    """
    if not facts.path.startswith(_reserved):
        return False
    if is_services(facts.authority.host, snapshot):
        return is_below(facts.path, _auth) or find_resource(facts, snapshot) is not None
    return any(is_below(facts.path, prefix) for prefix in _reserved)


def find_unrouted(record: Record, denied: Denied) -> OwnPage | None:
    """What is served where no route is: the static site, else the default page at "/"."""
    facts = record.facts
    if facts is None or denied.reason is not _NO_ROUTE:
        return None
    if is_services(facts.authority.host, record.snapshot) or facts.method not in ("GET", "HEAD"):
        return None
    return OwnPage(facts, record.snapshot) if static_site is not None or facts.path == "/" else None


async def serve(page: OwnPage, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
    """Django's part: sign-in, admin, dashboard, health. Only under a Host that is ours."""
    facts = page.facts
    record.in_log = facts.path != health.ALIVE
    if has_secret_address(facts.path):
        send = _without_referrer(send)
    if not (is_known(facts.authority.host, page.snapshot) or _is_open_to_machines(facts)):
        await send_refusal(record, Denied(Reason.BAD_HOST), send)
        return
    if (objection := _find_objection(facts)) is not None:
        await _refuse_early(record, facts, objection, send)
        return
    await _refusing(_page_at(facts.path), facts, scope, receive, send, record)


def _is_open_to_machines(facts: RequestFacts) -> bool:
    """Whoever watches over the gateway asks it by an address. By a name, a page of another site could read the metrics
    through a browser beside the gateway, once that name leads here (DNS rebinding).
    """
    host = facts.authority.host
    by_address = is_loopback(host) or parse_address(host.strip("[]")) is not None
    return facts.path in health.PATHS or (facts.path == METRICS and by_address)


def _page_at(path: str) -> Page:
    if path == health.ALIVE:
        return _serve_health
    assets = next((site for prefix, site in _assets.items() if path.startswith(prefix)), None)
    return _serve_django if assets is None else _serve_files(assets)


def _find_objection(facts: RequestFacts) -> Denied | None:
    """What can be said of a request without any work for it."""
    if seconds := seconds_to_wait(facts):
        return Denied(Reason.RATE_LIMITED, retry_after=math.ceil(seconds))
    return local_sign_in.find_objection(facts) if local_sign_in.is_attempt(facts) else None


async def _refuse_early(record: Record, facts: RequestFacts, objection: Denied, send: Send) -> None:
    if objection.reason is Reason.RATE_LIMITED:
        await asyncio.sleep(REFUSED_AFTER)
    await send_refusal(record, objection, send, again=new_sign_in(record) or _same_again(facts))


def _same_again(facts: RequestFacts) -> str:
    """The address asked for; empty for a form, which no link sends again."""
    return f"{facts.path}{facts.query.decode('ascii')}" if facts.method == "GET" else ""


async def _refusing(
    page: Page, facts: RequestFacts, scope: Scope, receive: Receive, send: Send, record: Record
) -> None:
    try:
        await page(scope, receive, send, record, facts)
    except BodyRefused as refused:
        await send_refusal(record, Denied(refused.reason), send)
    except (TooBusy, BudgetSpent):
        await asyncio.sleep(REFUSED_AFTER)
        await send_refusal(record, Denied(Reason.BUSY), send, again=_same_again(facts))
    except ClientGone:
        pass


def _serve_files(site: StaticSite) -> Page:
    async def serve_file(scope: Scope, receive: Receive, send: Send, record: Record, facts: RequestFacts) -> None:
        await read_no_body(facts, receive)
        await site({**scope, "path": facts.path}, replay(b"", receive), _recording(record, send))

    return serve_file


async def _serve_health(scope: Scope, receive: Receive, send: Send, record: Record, facts: RequestFacts) -> None:
    """Bypass Django, which starts two threads for a request: anybody may ask for this, as often as they like."""
    await read_no_body(facts, receive)
    await send_text(record, facts, b"healthy", send)


async def _serve_django(scope: Scope, receive: Receive, send: Send, record: Record, facts: RequestFacts) -> None:
    known = known_operators.is_known(facts, record.snapshot)
    with Loan(page_answers.budget_of_known if known else page_answers.budget, facts.client) as loan:
        answer = Answer(loan)
        with Loan(page_bodies.budget_of_known if known else page_bodies.budget, facts.client) as body_loan:
            whole = replay(await read_body(facts, record.snapshot, receive, body_loan), receive)
            await _ask_django(facts, known, _django_scope(scope, facts), whole, answer.take)
        await answer.give(_recording(record, send))


async def _ask_django(facts: RequestFacts, known: bool, scope: Scope, receive: Receive, send: Send) -> None:
    """With all of the body there, and an answer that waits for nobody: a client never holds up what many share."""
    if scope["path"].startswith(_in_turns):
        # Strangers may ask for the admin's sign-in, and for the API: not so often that no thread and no connection to
        # the database is left for the rest.
        await _in_turn(facts, known, lambda: django_pages(scope, receive, send))
    else:
        await django_pages(scope, receive, send)


async def _in_turn(facts: RequestFacts, known: bool, page: Callable[[], Awaitable[None]]) -> None:
    client = client_key(facts.client)

    async def in_turn() -> None:
        await admin_turns.run(client, page)

    # The narrower turn first: strangers and passwords wait there, and never in the places of those who are known.
    if local_sign_in.is_attempt(facts):
        await local_sign_in.in_turn(facts, in_turn)
    elif known:
        await in_turn()
    else:
        await admin_turns_of_strangers.run(client, in_turn)


async def serve_unrouted(page: OwnPage, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
    """Serve a request that matched no route. Clears the NO_ROUTE decision, so that the log shows what was served."""
    record.decision = None
    if static_site is None:
        await serve(page, scope, receive, send, record)
    else:
        await _refusing(_serve_files(static_site), page.facts, scope, receive, send, record)


def _django_scope(scope: Scope, facts: RequestFacts) -> Scope:
    """The request as the gate saw it: Django must not read a second meaning out of the raw one."""
    headers = [(name, value) for name, value in facts.headers if name != b"host" and client_may_send(name)]
    return {
        **scope,
        "scheme": facts.scheme,
        "client": (facts.client, 0),
        "path": unquote(facts.path),
        "raw_path": facts.path.encode("ascii"),
        "headers": [(b"host", str(facts.authority).encode("ascii")), *headers],
    }


def _without_referrer(send: Send) -> Send:
    """Outermost: a refusal in the place of a page has it like the page."""

    async def discreet(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = without_referrer(message["headers"])
        await send(message)

    return discreet


def _recording(record: Record, send: Send) -> Send:
    async def recorded(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", record.request_id.encode("ascii"))]
        else:
            record.bytes_sent += len(message.get("body", b""))
        await send(message)

    return recorded
