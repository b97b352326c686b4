"""Headers by their names."""

from __future__ import annotations

from authgate.wire.headers import Headers


def test_each_name_has_its_values_in_order():
    headers = Headers([(b"host", b"a"), (b"accept", b""), (b"via", b"1")])
    assert [headers.values(name) for name in (b"host", b"accept", b"via", b"cookie")] == [(b"a",), (b"",), (b"1",), ()]


def test_a_repeated_name_has_them_all():
    headers = Headers([(b"via", b"1"), (b"host", b"a"), (b"via", b"2"), (b"via", b"1")])
    assert headers.values(b"via") == (b"1", b"2", b"1")
    assert headers.values(b"host") == (b"a",)
    assert headers.values(b"cookie") == ()


def test_what_is_added_later_counts():
    """As the host of a health check without one is."""
    for given in ([(b"via", b"1")], [(b"via", b"1"), (b"via", b"2")]):
        headers = Headers(given)
        assert headers.values(b"host") == ()
        headers.append((b"host", b"a"))
        headers.append((b"via", b"3"))
        assert headers.values(b"host") == (b"a",)
        assert headers.values(b"via")[-1] == b"3"
