"""The way of a request past ASGI, by callbacks: with no task between where nothing has to be waited for.

The gateway's own pages, and sessions whose cookie is to be renewed, take the application's way.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from django.conf import settings

from authgate.decision import Allowed, Denied
from authgate.gate.body import is_too_large
from authgate.gate.facts import Received
from authgate.gate.mcp import check_head
from authgate.gate.steps import Asking, begin
from authgate.observe.access_log import Record, new_request_id
from authgate.reason import Reason
from authgate.sessions.renewal import may_be_due
from authgate.state.newest import is_behind
from proxy.failures import CLIENT_LEFT
from proxy.pipeline import own_pages
from proxy.pipeline.answering import RefusalCycle
from proxy.pipeline.enter import Entered, ask, caused_by, enter, enter_at_once, state_of
from proxy.pipeline.forwarding import DirectCycle, WaitingCycle
from proxy.pipeline.mcp_cycle import McpCycle
from proxy.pipeline.own_pages import OwnPage
from proxy.pipeline.passage import Passage
from proxy.pipeline.renewal import enter_renewed, find_wanted
from proxy.pipeline.tunnel import TunnelCycle
from proxy.server.http1.cycle import Cycle
from proxy.server.http1.head import RequestHead
from proxy.server.http1.protocol import Http1Protocol, Shortcut
from proxy.upstream.worker import current_worker

logger = logging.getLogger(__name__)


def start(connection: Http1Protocol, request: RequestHead, body: bytes | None) -> Cycle:
    """As Shortcut. For limits that this machine counts."""
    if is_behind():
        return _start_later(connection, request, body)
    record = Record(new_request_id())
    received = (
        request.method, connection.scheme, request.raw_path, request.query, connection.peer, request.headers,
    )  # fmt: skip
    entered = enter_at_once(record, received)
    # isinstance asks the metaclass of a struct, for every request that is refused.
    if type(entered) is Allowed and body is not None and entered.entry.mcp is None and not entered.facts.wants_upgrade:
        identity = entered.identity
        is_due = (identity is None or identity.by_cookie) and may_be_due(entered, request.headers)
        is_refused = body and is_too_large(entered, len(body))
        kept = None if is_due or is_refused else current_worker().take_idle(entered)
        if kept is not None:
            cycle = DirectCycle(connection, request, Passage(entered, record))
            cycle.forward(kept, len(body), body)
            return cycle
    elif isinstance(entered, Asking):
        return _wait(connection, request, body, record, ask(record, entered))
    return _go_on(connection, request, body, record, entered)


def start_or_ask(connection: Http1Protocol, request: RequestHead, body: bytes | None) -> Cycle:
    """The same for limits that are kept in Redis: only a request that is counted there waits for it."""
    if is_behind():
        return _start_later(connection, request, body)
    record = Record(new_request_id())
    entered = enter_at_once(record, _received(connection, request), begin)
    if isinstance(entered, Asking):
        return _wait(connection, request, body, record, ask(record, entered))
    return _go_on(connection, request, body, record, entered)


shortcut: Shortcut = start_or_ask if settings.AUTHGATE_REDIS_URL else start


def _start_later(connection: Http1Protocol, request: RequestHead, body: bytes | None) -> Cycle:
    """Something was committed that is not loaded yet."""
    record = Record(new_request_id())
    return _wait(connection, request, body, record, enter(record, _received(connection, request)))


def _received(connection: Http1Protocol, request: RequestHead) -> Received:
    return request.method, connection.scheme, request.raw_path, request.query, connection.peer, request.headers


def _wait(
    connection: Http1Protocol, request: RequestHead, body: bytes | None, record: Record, entering: Awaitable[Entered]
) -> Cycle:
    cycle = GateCycle(connection, request, record, body)
    cycle.wait_for(entering)
    return cycle


def _go_on(
    connection: Http1Protocol, request: RequestHead, body: bytes | None, record: Record, entered: Entered
) -> Cycle:
    """What is the application's to answer is handed over with what was decided, which is not decided again."""
    if type(entered) is Allowed and entered.entry.mcp is not None:
        entered = check_head(entered, request.length) or entered
    if type(entered) is Allowed and is_too_large(entered, request.length if body is None else len(body)):
        entered = entered.refused(Reason.BODY_TOO_LARGE)
    if not isinstance(entered, OwnPage) and record.facts is not None and record.facts.wants_upgrade:
        upgraded = _go_on_upgrade(connection, request, body, record, entered)
        if upgraded is not None:
            return upgraded
    if type(entered) is Allowed:
        if not may_be_due(entered, request.headers):
            kind = WaitingCycle if entered.entry.mcp is None else McpCycle
            cycle = kind(connection, request, Passage(entered, record))
            if body is not None:
                cycle.take_body([body], complete=True)
            return cycle
    elif isinstance(entered, Denied) and _is_final(record, entered, request):
        return _refuse(connection, request, record, entered, whole=body is not None)
    return connection.hand_over(request, body or b"", {**state_of(record), "entered": entered})


def _go_on_upgrade(
    connection: Http1Protocol, request: RequestHead, body: bytes | None, record: Record, entered: Allowed | Denied
) -> Cycle | None:
    """None: it is answered as any other request is."""
    if entered.identity is None and record.facts is not None and record.facts.headers is request.headers:
        # Only once: with the cookie that it has by now it is not asked again. The answer that would bring the browser a
        # new cookie is one that no page sees.
        wanted = find_wanted(record, entered)
        if wanted is not None:
            return _wait(connection, request, body, record, enter_renewed(record, wanted, entered))
    if isinstance(entered, Denied):
        return None
    if request.version != "1.1":  # RFC 9110 7.8
        return _refuse(connection, request, record, entered.refused(Reason.UPGRADE_NOT_SUPPORTED), whole=True)
    cycle = TunnelCycle(connection, request, Passage(entered, record))
    cycle.take_body([b""], complete=True)
    return cycle


def _refuse(connection: Http1Protocol, request: RequestHead, record: Record, denied: Denied, *, whole: bool) -> Cycle:
    """`whole`: its body is here, or it has none."""
    refusal = RefusalCycle(connection, request, record)
    refusal.body_complete = whole
    # In a turn of its own: a client that pipelines refused requests would drive the stack deeper with each of them.
    current_worker().loop.call_soon(refusal.refuse, denied)
    return refusal


def _is_final(record: Record, denied: Denied, request: RequestHead) -> bool:
    return not may_be_due(denied, request.headers) and own_pages.find_unrouted(record, denied) is None


class GateCycle(RefusalCycle):
    """A request that waits for the gate. With its answer another cycle goes on."""

    body_complete = False

    def __init__(self, connection: Http1Protocol, request: RequestHead, record: Record, body: bytes | None) -> None:
        super().__init__(connection, request, record)
        self._body = body

    def wait_for(self, entering: Awaitable[Entered]) -> None:
        self.task = task = current_worker().loop.create_task(self._run(entering))
        tasks = self._connection.server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _run(self, entering: Awaitable[Entered]) -> None:
        try:
            entered = await entering
            if not self.gone:
                self._hand_on(entered)
        except Exception:
            logger.exception("a request could not be decided", extra=caused_by(self._record))
            self._log()
            self._connection.fail(self)
        finally:
            self._log()

    def _hand_on(self, entered: Entered) -> None:
        cycle = _go_on(self._connection, self._request, self._body, self._record, entered)
        self._logged = True  # by that one
        self._connection.go_on_with(cycle)
        if self._body is None and (self._piece or self.body_complete):
            cycle.take_body([self._piece], complete=self.body_complete)

    # -- called by the connection ---------------------------------------------------------------------------

    def leave(self) -> None:
        # The gate comes to its end all the same, and the log says what it decided.
        Cycle.leave(self)
        self._record.cut = self._record.cut or CLIENT_LEFT

    def give_up(self) -> None:
        if self.task is not None:
            self.task.cancel()
        super().give_up()
        self._log()
