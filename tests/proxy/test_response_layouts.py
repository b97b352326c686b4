"""Both ways by which a response's headers are finished, the quick one for ordinary heads and the close look."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.wire.headers import header_block
from authgate.wire.own_cookies import OwnCookies
from proxy.headers import BadFraming
from proxy.response_headers import ResponsePolicy, layout_of

OURS = [(b"x-frame-options", b"DENY"), (b"x-share", b"100%")]
HSTS = (b"strict-transport-security", b"max-age=31536000")
HTTP = ResponsePolicy(OURS, OwnCookies(secure=False))
HTTPS = ResponsePolicy([*OURS, HSTS], OwnCookies(secure=True))
PRIVATE = (b"cache-control", b"private")


def parts(*fields):
    pairs = [tuple(field.encode().split(b": ", 1)) for field in fields]
    return layout_of(tuple(name for name, _ in pairs)), tuple(value for _, value in pairs)


def finished(*fields, by=HTTP, private=False):
    """By the close look; the quick way must come to the same, where it comes to anything."""
    layout, values = parts(*fields)
    pairs = by.finish(layout, values, private=private)
    assert by.ordinary_lines(layout, values, private=private) in (None, header_block(pairs))
    return pairs


def is_ordinary(*fields, by=HTTPS):
    return by.ordinary_lines(*parts(*fields), private=False) is not None


NAMES = (
    "Connection", "Content-Length", "Transfer-Encoding", "Strict-Transport-Security", "Location", "Set-Cookie", "Date",
    "Alt-Svc", "NEL", "X-Request-ID", "Cache-Control", "X-Frame-Options", "x-share", "X-100%b", "x-a", "X-A",
    "Keep-Alive",
)  # fmt: skip
VALUES = (
    "",
    "5",
    "chunked",
    "close",
    "Keep-Alive",
    "x-a",
    "x-share",
    "max-age=0",
    "max-age=63072000",
    "50% %b",
    "auth_token=x",
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5), st.booleans())
def test_the_quick_way_comes_to_what_the_close_look_does(pairs, private):
    for by in (HTTP, HTTPS):
        try:
            finished(*(f"{name}: {value}" for name, value in pairs), by=by, private=private)
        except BadFraming:
            assert not is_ordinary(*(f"{name}: {value}" for name, value in pairs), by=by)


def test_names_are_in_lower_case_and_ours_are_behind():
    assert finished("X-B: 1", "x-a: 2", private=True) == [(b"x-b", b"1"), (b"x-a", b"2"), *OURS, PRIVATE]
    assert finished() == OURS
    assert finished("X-Share: its own", "Cache-Control: public", private=True) == [
        (b"x-share", b"its own"), (b"cache-control", b"public"), OURS[0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["connection", "keep-alive", "te", "alt-svc", "clear-site-data", "service-worker-allowed", "nel", "public-key-pins",
     "x-request-id"],
)  # fmt: skip
def test_what_stays_on_its_hop_or_is_of_the_whole_host_is_left_out(name):
    assert finished(f"{name}: close", "x-after: 1") == [(b"x-after", b"1"), *OURS]


@pytest.mark.parametrize(
    "name",
    ["set-cookie", "content-length", "content-type", "content-encoding", "cache-control", "location",
     "content-security-policy", "www-authenticate", "x-frame-options", "x-content-type-options", "x-share"],
)  # fmt: skip
def test_connection_makes_nothing_vanish_that_counts_for_the_visitor(name):
    assert (name.encode(), b"1") in finished(f"Connection: {name}, x-other", f"{name}: 1")
    assert (b"x-other", b"1") not in finished(f"Connection: {name}, x-other", "x-other: 1")


def test_connection_makes_no_frame_options_vanish_where_the_gateway_adds_none():
    bare = ResponsePolicy([], OwnCookies(secure=False))
    assert finished("Connection: x-frame-options", "X-Frame-Options: DENY", by=bare) == [(b"x-frame-options", b"DENY")]


@pytest.mark.parametrize(
    "fields",
    [
        (), ("x-a: 1",), ("Content-Length: 5", "Connection: Close"),
        ("Transfer-Encoding: chunked", "Connection: keep-alive"), ("Strict-Transport-Security: max-age=63072000",),
        ("x-a: 1", "x-a: 2"), (f"x-{'a' * 4094}: 1",),
        ("Content-Length: 5", "Strict-Transport-Security: max-age=63072000"),
    ],
)  # fmt: skip
def test_an_ordinary_head_takes_the_quick_way(fields):
    assert is_ordinary(*fields)
    assert finished(*fields, by=HTTPS)


def test_over_http_hsts_of_any_kind_takes_the_quick_way():
    assert is_ordinary("Strict-Transport-Security: max-age=0", by=HTTP)


def test_only_connection_lists_what_stays_on_its_hop():
    assert (b"x-b", b"1") in finished("x-a: x-b", "Connection: x-c", "x-b: 1")
    assert (b"x-b", b"1") in finished("x-a: x-b", "x-b: 1")


def test_a_value_without_a_name_is_an_error():
    with pytest.raises(ValueError, match="longer"):
        layout_of((b"x-a",)).pairs((b"1", b"2"))


@pytest.mark.parametrize(
    "fields",
    [
        ("Location: /x",), ("content-location: /x",), ("Refresh: 0",), ("Set-Cookie: a=b",), ("Connection: x-a",),
        ("Connection: close", "connection: close"), ("Content-Length: 5", "content-length: 5"),
        ("Transfer-Encoding: chunked", "transfer-encoding: chunked"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: gzip",),
        ("Strict-Transport-Security: max-age=0",),
        ("Strict-Transport-Security: max-age=63072000",) * 2, (f"x-{'a' * 4095}: 1",),
    ],
)  # fmt: skip
def test_any_other_head_is_looked_at_closely(fields):
    assert not is_ordinary(*fields)


@pytest.mark.parametrize("codings", [("gzip",), ("chunked", "chunked"), ("gzip, chunked",), ("",)])
def test_a_coding_other_than_chunked_is_refused(codings):
    with pytest.raises(BadFraming):
        finished(*(f"Transfer-Encoding: {coding}" for coding in codings))


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("max-age=2592000", True), ("max-age=2591999", False), ("max-age=" + "9" * 5000, True),
        ('a; MAX-AGE =\t"2592000"', True),
        ("max-age=2592000; max-age=2592000", False), ("max-age=2592000x", False), ("max-age=", False), ("", False),
    ],
)  # fmt: skip
def test_hsts_is_the_services_only_while_it_lasts_long(value, is_kept):
    field = f"Strict-Transport-Security: {value}"
    kept = (HSTS[0], value.encode())
    assert finished(field, by=HTTPS) == ([kept, *OURS] if is_kept else [*OURS, HSTS])
    assert finished(field, by=HTTP) == [kept, *OURS]


def test_a_cookie_of_the_gateways_name_is_left_out():
    assert finished("Set-Cookie: auth_token=x", "Set-Cookie: a=auth_token=x", "x-a: auth_token=x") == [
        (b"set-cookie", b"a=auth_token=x"), (b"x-a", b"auth_token=x"), *OURS,
    ]  # fmt: skip


def test_layouts_are_remembered_unless_their_names_are_long():
    for length, is_remembered in ((4096, True), (4097, False)):
        names = (b"x-a", b"x" * (length - 3))
        assert (layout_of(names) is layout_of(names)) is is_remembered


def test_what_becomes_of_a_layout_is_worked_out_once_for_each_kind_of_caller():
    policy = ResponsePolicy(OURS, OwnCookies(secure=False))
    layout, values = parts("x-a: 1")
    lines = [policy.ordinary_lines(layout, values, private=private) for private in (False, True, False, True)]
    assert lines[:2] == lines[2:]
    assert lines[0] != lines[1]
    assert len(policy._plans) == 2
    plan = policy._plans.get((layout, True))
    policy.ordinary_lines(layout, values, private=True)
    assert plan is not None
    assert policy._plans.get((layout, True)) is plan


@pytest.mark.parametrize(
    ("field", "has_date", "has_places", "is_framed"),
    [
        ("Date: x", True, False, False), ("LOCATION: x", False, True, False), ("Content-Length: 1", False, False, True),
        ("Transfer-Encoding: chunked", False, False, True), ("x-date: x", False, False, False),
    ],
)  # fmt: skip
def test_a_layout_knows_what_follows_from_names(field, has_date, has_places, is_framed):
    layout, _ = parts("x-first: 1", field)
    assert (layout.has_date, layout.has_places, layout.is_framed) == (has_date, has_places, is_framed)
    first, _ = parts(field)
    assert (first.has_date, first.has_places, first.is_framed) == (has_date, has_places, is_framed)
