"""The beginning of every request: what it is, and what is decided about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from authgate.decision import Allowed, Decision, Denied
from authgate.gate.decide import decide
from authgate.gate.facts import FactsRefused, Received, read_facts
from authgate.gate.steps import Asking, Prove, Steps, Take, run, run_here
from authgate.observe.access_log import Record
from authgate.observe.strangers import Cause
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.state.newest import newest
from authgate.state.snapshot import Snapshot, current
from authgate.wire.trace_context import read_trace
from proxy.pipeline.own_pages import OwnPage, is_reserved

logger = logging.getLogger(__name__)


Entered = Allowed | Denied | OwnPage


Run = Callable[[Steps[Decision]], Decision | Asking[Decision]]


def enter_at_once(record: Record, received: Received, run: Run = run_here) -> Entered | Asking[Decision]:
    """Write facts, snapshot and decision into the record, as far as memory knows the answers.

    For limits that this machine counts; with `begin` for those that are kept anywhere.
    """
    snapshot = current()
    begun = _begin(record, received, snapshot)
    if type(begun) is not RequestFacts:
        return begun
    try:
        decision = run(decide(begun, snapshot))
    except Exception:
        decision = _gate_failed(record)
    if not isinstance(decision, Asking):
        record.decision = decision
    return decision


async def ask(record: Record, asking: Asking[Decision]) -> Entered:
    """What follows from the answer."""
    return await _decided(record, *asking)


async def enter(record: Record, received: Received) -> Entered:
    """The same for limits that are kept anywhere, and when something was committed that is not loaded yet."""
    snapshot = await newest()
    begun = _begin(record, received, snapshot)
    return await _decided(record, decide(begun, snapshot)) if type(begun) is RequestFacts else begun


async def enter_again(record: Record, facts: RequestFacts, before: Entered) -> Entered:
    """With other headers, after the request has waited: by the policy of now."""
    record.facts = facts
    if isinstance(before, OwnPage):
        return OwnPage(facts, before.snapshot)
    record.snapshot = snapshot = await newest()
    return await _decided(record, decide(facts, snapshot, before))


def _begin(record: Record, received: Received, snapshot: Snapshot | None) -> RequestFacts | OwnPage | Denied:
    """The facts, for the gate to decide about; else what the request comes to without the gate."""
    record.trace = read_trace(received[-1])
    try:
        record.facts = facts = read_facts(*received, snapshot.table if snapshot is not None else None)
    except FactsRefused as refused:
        record.rule = refused.rule
        record.decision = denied = Denied(refused.reason)
        return denied
    record.snapshot = snapshot
    return OwnPage(facts, snapshot) if is_reserved(facts, snapshot) else facts


async def _decided(record: Record, steps: Steps[Decision], asked: Take | Prove | None = None) -> Decision:
    try:
        record.decision = decision = await run(steps, asked)
    except Exception:
        record.decision = decision = _gate_failed(record)
    return decision


def state_of(record: Record) -> dict[str, Any]:
    """What everything behind the front door finds in scope["state"]."""
    return {"record": record, "request_id": record.request_id}


def caused_by(record: Record) -> dict[str, Cause]:
    """`extra` of a line that is logged outside of a task."""
    return {"cause": record.cause}


def _gate_failed(record: Record) -> Decision:
    logger.exception("the gate failed", extra=caused_by(record))
    return Denied(Reason.GATE_ERROR)
