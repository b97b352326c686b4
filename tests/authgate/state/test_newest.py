"""What a request waits for when something was committed that its worker has not loaded."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from authgate import generation
from authgate.authn.cache import IdentityCache
from authgate.policy.document import PolicyDocument
from authgate.policy.rules import GrantRules
from authgate.policy.table import build_table
from authgate.state import newest, snapshot


def revision(number):
    document = PolicyDocument()
    table, grants = build_table(document, []), GrantRules([], [])
    return snapshot.Snapshot(number, document, table, grants, None, IdentityCache())


@pytest.fixture
def data_dir(tmp_path, settings):
    settings.AUTHGATE_DATA_DIR = tmp_path
    before = snapshot.current()
    newest.open_file(lambda: None)
    snapshot.install(revision(1))
    newest.caught_up(newest.read())
    yield tmp_path
    newest.close_file()
    snapshot.install(before)


@pytest.fixture
def little_patience(monkeypatch):
    monkeypatch.setattr(newest, "PATIENCE_SECONDS", 0.5)


async def a_moment():
    for _ in range(5):
        await asyncio.sleep(0.001)


def test_who_waits_for_a_policy_is_not_sent_on_by_somebody_s_sign_out(data_dir):
    async def main():
        said = newest.read()
        generation.advance("policy")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        newest.caught_up(said)  # a look that began before
        generation.advance("trust")
        said = newest.read()
        newest.trust_caught_up(said)
        await a_moment()
        assert not request.done()
        snapshot.install(revision(2))
        newest.caught_up(said)
        return await asyncio.wait_for(request, 1.5)

    assert asyncio.run(main()).revision == 2


def test_who_waits_for_trust_alone_waits_for_no_policy(data_dir):
    async def main():
        generation.advance("trust")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        generation.advance("policy")
        said = newest.read()
        snapshot.install(revision(2))
        newest.trust_caught_up(said)
        return await asyncio.wait_for(request, 1.5)  # before its patience ends

    assert asyncio.run(main()).revision == 2


def test_more_that_is_committed_meanwhile_makes_nobody_wait_longer(data_dir):
    async def main():
        generation.advance("trust")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        said = newest.read()
        generation.advance("trust")
        newest.caught_up(said)
        return await request

    assert asyncio.run(main()).knows_credentials
    assert newest.is_behind()


@pytest.mark.parametrize(("kind", "knows"), [("trust", False), ("policy", True)])
def test_without_a_wait_no_credential_is_known_while_one_may_have_been_taken_away(data_dir, kind, knows):
    generation.advance(kind)
    assert newest.known().knows_credentials is knows
    newest.caught_up(newest.read())
    assert newest.known().knows_credentials


def test_each_change_is_another_number_also_after_a_file_was_put_back(data_dir):
    file = data_dir / generation.FILE
    before = file.read_bytes()
    seen = set()
    for _ in range(50):
        file.write_bytes(before)
        generation.advance("trust")
        seen.add(file.read_bytes())
    assert len(seen) == 50


def odd_directory(file):
    file.mkdir()


def odd_fifo(file):
    os.mkfifo(file)


def odd_link(file):
    (file.parent / "other").write_bytes(b"precious")
    os.link(file.parent / "other", file)


def odd_symlink(file):
    (file.parent / "other").write_bytes(b"precious")
    file.symlink_to("other")


@pytest.mark.parametrize("odd", [odd_directory, odd_fifo, odd_link, odd_symlink])
def test_what_is_no_file_of_its_own_is_named_and_left_alone(data_dir, odd, caplog):
    file = data_dir / generation.FILE
    file.unlink()
    odd(file)
    for _ in range(3):
        newest.read()
        generation.advance("trust")
    assert [line.message for line in caplog.records if "changes are seen half a second late" in line.message] != []
    assert len([line for line in caplog.records if line.name == newest.logger.name]) == 1
    assert not (data_dir / "other").exists() or (data_dir / "other").read_bytes() == b"precious"


def test_a_file_that_could_not_be_opened_is_tried_again(data_dir, caplog):
    file = data_dir / generation.FILE
    newest.close_file()
    file.unlink()
    file.mkdir()
    newest.open_file(lambda: None)
    assert [newest.read(), newest.read()] == [b"", b""]
    assert not newest.is_behind()
    assert newest.known() is snapshot.current()
    assert len(caplog.messages) == 1
    file.rmdir()
    newest.caught_up(newest.read())
    generation.advance("trust")
    assert newest.is_behind()
    file.unlink()
    file.mkdir()
    newest.read()
    assert len(caplog.messages) == 2


def test_who_waits_rings_for_the_change_and_who_is_up_to_date_does_not(data_dir):
    rings = []
    newest.open_file(lambda: rings.append("rung"))
    newest.caught_up(newest.read())

    async def main():
        before = await newest.newest()
        assert rings == []
        generation.advance("trust")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        newest.caught_up(newest.read())
        return before, await request

    assert asyncio.run(main()) == (snapshot.current(), snapshot.current())
    assert rings == ["rung"]


@pytest.mark.parametrize(
    ("kind", "until", "knows"),
    [("trust", "credentials are refused", False), ("policy", "the policy stays as it was", True)],
)
def test_patience_ends_for_all_at_once_with_one_line_in_the_log(data_dir, little_patience, caplog, kind, until, knows):
    async def main():
        generation.advance(kind)
        for count in (3, 1):  # the last one comes when nobody's patience is left
            began = time.monotonic()
            found = await asyncio.gather(*(newest.newest() for _ in range(count)))
            assert {(state.revision, state.knows_credentials) for state in found} == {(1, knows)}
            waited.append(time.monotonic() - began)

    waited = []
    asyncio.run(main())
    assert waited[1] < 0.25 < 0.5 <= waited[0]
    assert caplog.messages == [f"policy: a change could not be loaded within 0.5 s: until it is, {until}"]
    newest.caught_up(newest.read())
    assert newest.known() is snapshot.current()


def test_the_log_says_when_credentials_are_refused_although_it_spoke_of_the_policy_already(
    data_dir, little_patience, caplog
):
    async def main():
        for kind in ("policy", "trust"):
            generation.advance(kind)
            await asyncio.gather(newest.newest(), newest.newest())

    asyncio.run(main())
    said = [message.rpartition(", ")[2] for message in caplog.messages]
    assert said == ["the policy stays as it was", "credentials are refused"]


def test_what_is_behind_for_long_takes_no_patience_from_the_next_change(data_dir, little_patience):
    async def main():
        generation.advance("policy")
        await newest.newest()
        generation.advance("trust")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        assert not request.done()
        newest.trust_caught_up(newest.read())
        return await request

    assert asyncio.run(main()).knows_credentials
    assert newest.known().knows_credentials
    assert newest.is_behind()


@pytest.mark.parametrize("caught_up", [newest.trust_caught_up, newest.caught_up])
def test_each_change_of_trust_is_waited_for_anew(data_dir, little_patience, caught_up, caplog):
    async def main():
        generation.advance("trust")
        await newest.newest()
        caught_up(newest.read())
        await a_moment()
        generation.advance("trust")
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        assert not request.done()
        caught_up(newest.read())
        await request

    asyncio.run(main())
    assert not newest._being_served
    assert len(caplog.messages) == 1  # of the one whose patience ended


def test_who_comes_as_the_watcher_catches_up_has_all_patience(data_dir):
    assert 1 < newest._patience("trust") <= newest.PATIENCE_SECONDS


def test_a_worker_begins_with_what_the_others_had_read(data_dir):
    generation.advance("policy")
    generation.advance("trust")
    newest.begin_with(*generation.numbers(newest.read()))
    assert not newest.is_behind()
    newest.begin_with(0, 0)
    assert newest.is_behind()
    (data_dir / generation.FILE).write_bytes(b"")
    newest.begin_with(1, 2)
    assert not newest.is_behind()


def test_without_a_descriptor_that_can_be_read_nothing_is_known(data_dir):
    descriptor, held, directory = newest._descriptor, os.dup(newest._descriptor), os.open(data_dir, os.O_RDONLY)
    try:
        os.dup2(directory, descriptor)
        assert newest.is_behind()
        assert not newest.known().knows_credentials
    finally:
        os.dup2(held, descriptor)
        os.close(held)
        os.close(directory)
    assert not newest.is_behind()


def test_a_file_that_cannot_be_read_is_named_and_opened_again(data_dir, caplog):
    said = newest.read()
    unreadable = os.open(data_dir / generation.FILE, os.O_WRONLY)
    os.dup2(unreadable, newest._descriptor)
    os.close(unreadable)
    before = len(os.listdir("/proc/self/fd"))
    assert newest.read() == b""
    assert caplog.messages == ["generation: Bad file descriptor: changes are seen half a second late"]
    assert not newest.is_behind()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert newest.read() == said


def test_a_file_that_is_replaced_is_followed_and_the_descriptor_stays_the_same(data_dir):
    file = data_dir / generation.FILE
    before, descriptor = len(os.listdir("/proc/self/fd")), newest._descriptor
    file.unlink()
    file.write_bytes(generation.content(3, 4))
    assert newest.read() == generation.content(3, 4)
    assert not os.get_inheritable(descriptor)
    assert (len(os.listdir("/proc/self/fd")), newest._descriptor) == (before, descriptor)
    newest.close_file()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_who_waits_for_both_waits_until_all_patience_is_at_its_end(data_dir, monkeypatch):
    monkeypatch.setattr(newest, "PATIENCE_SECONDS", 30.0)

    async def main():
        generation.advance("policy")
        generation.advance("trust")
        newest._behind_since["policy"] = time.monotonic() - 29.9
        request = asyncio.ensure_future(newest.newest())
        await asyncio.sleep(0.3)
        assert not request.done()
        newest.caught_up(newest.read())
        return await request

    assert asyncio.run(main()).knows_credentials


def test_a_file_of_the_same_numbers_and_another_length_may_mean_anything(data_dir):
    file = data_dir / generation.FILE
    file.write_bytes(b"")
    newest.caught_up(newest.read())
    file.write_bytes(generation.content(0, 0))
    assert newest.is_behind()
    assert not newest.known().knows_credentials


def test_before_anything_is_loaded_there_is_nothing_to_decide_by(data_dir):
    snapshot.install(None)
    generation.advance("trust")
    assert newest.known() is None


def test_a_worker_that_begins_anew_remembers_no_file_and_no_wait(data_dir, little_patience):
    file = data_dir / generation.FILE

    async def main():
        generation.advance("trust")
        await newest.newest()
        newest.open_file(lambda: None)
        request = asyncio.ensure_future(newest.newest())
        await a_moment()
        assert not request.done()
        newest.caught_up(newest.read())
        await request

    asyncio.run(main())
    file.write_bytes(b"")
    newest.open_file(lambda: None)
    assert not newest.is_behind()
    generation.advance("trust")
    file.unlink()
    file.mkdir()
    newest.open_file(lambda: None)
    assert not newest.is_behind()
