"""What Granian bounds nowhere."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress

import pytest

from proxy.server.http1.limits import Limits
from proxy.server.http1.refusal import RequestRefused
from proxy.server.http1.taking import NotTaken
from proxy.server.http2.bounds import PIECE_BYTES, Admission, BoundedSend
from proxy.server.http2.server import guard
from tests.proxy.server.test_http2_slow_bodies import SCOPE


def admitted(admission, held, client, wanted):
    """How many of `wanted` requests of this client get in, and stay."""
    count = 0
    for _ in range(wanted):
        with suppress(RequestRefused):
            held.enter_context(admission.of(client))
            count += 1
    return count


def test_one_client_cannot_take_every_request():
    admission = Admission(16)
    with ExitStack() as held:
        assert admitted(admission, held, "192.0.2.1", 16) == 8
        assert admitted(admission, held, "192.0.2.2", 16) == 4
        assert admitted(admission, held, "2001:db8::1", 3) == 3
        assert admitted(admission, held, "2001:db8::2", 3) == 1  # of the same /64, and all are taken
    with ExitStack() as held:
        assert admitted(admission, held, "192.0.2.2", 16) == 8


def test_a_request_too_many_is_answered_with_503():
    statuses = []

    async def application(scope, receive, send):
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def note(message):
        statuses.append(message.get("status"))

    async def run():
        guarded = guard(application, Limits(requests=4))
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(guarded({**SCOPE, "client": (f"192.0.2.{number}", 1)}, None, note))

    asyncio.run(run())
    assert sorted(status for status in statuses if status) == [200] * 4 + [503]


def test_an_answer_that_is_not_taken_is_given_up_and_one_taken_slowly_is_not():
    taken = []

    async def slowly(message):
        await asyncio.sleep(0.05 if len(taken) < 8 else 60)
        taken.append(message)

    body = bytes(range(256)) * (10 * PIECE_BYTES // 256)
    message = {"type": "http.response.body", "body": body, "more_body": False}
    with pytest.raises(NotTaken):
        asyncio.run(BoundedSend(slowly, Limits(write_seconds=0.2))(message))
    assert b"".join(one["body"] for one in taken) == body[: 8 * PIECE_BYTES]


@pytest.mark.parametrize("size", [0, 1, 3000, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
@pytest.mark.parametrize("more", [True, False])
def test_pieces_are_the_whole(size, more):
    taken = []

    async def take(message):
        taken.append(message)

    body = b"x" * size
    asyncio.run(BoundedSend(take, Limits())({"type": "http.response.body", "body": body, "more_body": more}))
    assert b"".join(one["body"] for one in taken) == body
    assert [one["more_body"] for one in taken] == [True] * (len(taken) - 1) + [more]


class Shelf:
    """Five messages are kept, as by Granian with hyper, for a client that takes none or leaves."""

    def __init__(self):
        self.kept = []
        self.client_left = asyncio.Event()

    async def send(self, message):
        if message["type"] == "http.response.body":
            if len(self.kept) == 5:
                await self.client_left.wait()
            self.kept.append(message["body"])


async def answer(send, size, *, announced):
    head = [(b"content-length", b"%d" % size)] if announced else []
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"x" * size, "more_body": announced})
    if announced:
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [2049, 3000, PIECE_BYTES, 4 * PIECE_BYTES])
def test_an_answer_that_the_server_keeps_whole_is_not_taken(size, announced):
    async def run():
        await answer(BoundedSend(Shelf().send, Limits(write_seconds=0.1)), size, announced=announced)

    with pytest.raises(NotTaken):
        asyncio.run(run())


def test_a_client_that_does_not_take_its_answers_counts_with_each_until_it_leaves():
    async def application(scope, receive, send):
        await answer(send, 3000, announced=True)

    async def run():
        guarded = guard(application, Limits(requests=4, write_seconds=0.1))
        shelves, refused = [Shelf() for _ in range(2)], []
        async with asyncio.TaskGroup() as group:
            for shelf in shelves:
                group.create_task(guarded(dict(SCOPE), nothing, shelf.send))
            await asyncio.sleep(0.5)
            await guarded(dict(SCOPE), nothing, note_in(refused))
            for shelf in shelves:
                shelf.client_left.set()
        await guarded(dict(SCOPE), nothing, note_in(served := []))
        return refused, served

    assert asyncio.run(run()) == ([503], [200])


async def nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


def note_in(statuses):
    async def note(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    return note
