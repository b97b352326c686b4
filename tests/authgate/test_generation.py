from __future__ import annotations

import os

import pytest

from authgate import generation


@pytest.fixture
def file(tmp_path, settings):
    settings.AUTHGATE_DATA_DIR = tmp_path
    return tmp_path / generation.FILE


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(("kind", "other"), [("policy", 1), ("trust", 0)])
def test_a_change_writes_the_whole_number_of_its_kind_and_no_other(file, kind, other):
    seen = []
    for _ in range(20):
        generation.advance(kind)
        assert generation.numbers(file.read_bytes())[other] == 0
        seen.append(generation.numbers(file.read_bytes())[1 - other])
    assert len(set(seen)) == 20
    assert max(seen).bit_length() > 56


def test_the_numbers_of_a_content_are_in_their_order():
    assert generation.numbers(generation.content(1, 2)) == (1, 2)
    assert generation.numbers(generation.content(1, 2)[:8]) == (1, 0)
    assert generation.numbers(b"") == (0, 0)


@pytest.mark.parametrize("make", [lambda: generation.advance("trust"), lambda: os.close(generation.open_file())])
def test_the_file_is_made_for_its_owner_alone_and_stays_open_nowhere(file, make):
    before = open_files()
    make()
    assert file.stat().st_mode & 0o777 == 0o600
    assert open_files() == before


def test_who_reads_the_file_cannot_write_it(file):
    file.write_bytes(generation.content(1, 2))
    descriptor = generation.open_file()
    try:
        assert os.pread(descriptor, generation.LENGTH, 0) == generation.content(1, 2)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(descriptor, b"x", 0)
    finally:
        os.close(descriptor)


def test_a_link_is_left_alone_with_a_line_in_the_log(file, caplog):
    file.write_bytes(b"precious")
    os.link(file, file.with_name("other"))
    before = open_files()
    generation.advance("trust")
    assert caplog.messages == [
        f"{file}: is not a file of its own: remove it: workers see this change half a second late"
    ]
    assert file.read_bytes() == b"precious"
    assert open_files() == before


def test_a_descriptor_knows_whether_the_path_leads_elsewhere_by_now(file):
    descriptor = generation.open_file()
    try:
        assert not generation.is_replaced(descriptor)
        file.unlink()
        assert generation.is_replaced(descriptor)
        generation.advance("trust")
        assert generation.is_replaced(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("owner", "afterwards"), [(0, 65534), (1, 1)], ids=["made by root", "somebody's already"])
def test_what_root_makes_belongs_to_the_owner_of_the_directory(file, owner, afterwards):
    file.write_bytes(b"")
    os.chown(file, owner, owner)
    os.chown(file.parent, 65534, 65534)
    generation.advance("trust")
    assert (file.stat().st_uid, file.stat().st_gid) == (afterwards, afterwards)
