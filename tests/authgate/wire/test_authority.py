from __future__ import annotations

import pytest

from authgate.wire.authority import HostRefused, is_loopback, leads_to_loopback, parse_authority, parse_origin


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        pytest.param(b"example.com", "example.com", None, id="plain"),
        pytest.param(b"A.B.Example.COM", "a.b.example.com", None, id="CVE-2026-48794 upper case"),
        pytest.param(b"a.b.", "a.b", None, id="CVE-2022-23632 trailing dot"),
        pytest.param(b"A.B.:8000", "a.b", 8000, id="trailing dot and port"),
        pytest.param(b"example.com:", "example.com", None, id="empty port"),
        pytest.param(b"example.com:080", "example.com", 80, id="port with zeros"),
        pytest.param(b"127.0.0.1:1", "127.0.0.1", 1, id="IPv4"),
        pytest.param(b"[::1]:65535", "[::1]", 65535, id="IPv6"),
        pytest.param(b"[2001:DB8:0:0::1]", "[2001:db8::1]", None, id="IPv6 in its one spelling"),
        pytest.param(b"my_app.test", "my_app.test", None, id="underscore"),
        pytest.param(b"xn--caf-dma.test", "xn--caf-dma.test", None, id="punycode"),
    ],
)
def test_a_host_has_one_spelling(raw, host, port):
    assert parse_authority(raw) == (host, port)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b".", b"..", b"a..b", b".a", b"a..", b":80", b"a/b", b"a@b", b"a?x", b"a#x", b"example.com/abc?bar=",
        b"a:0", b"a:99999", b"a:123456", b"a:-1", b"a:+1", b"a: 1", b"a:x", b"a:1:2", b"::1", b"[::1", b"::1]",
        b"[::1]x", b"[::1%25eth0]", b"[fe80::1%eth0]", b"[1.2.3.4]", b"[]", b"a b", b" a", b"a ", b"a\tb", b"a\n",
        b"a\x00", b"a\x02", b"a\x7f", b"-a", b"a-", b"a.-b", b"a,b", b"a;b", b"a\\b", b"a%2eb", b"*", b"*.a", b"http://a",
        "bücher.test".encode(), "ａ.test".encode(), b"a\xa0", b"x" * 64, b".".join([b"x" * 60] * 5),
    ],
    ids=lambda raw: repr(raw)[2:-1][:30],
)  # fmt: skip
def test_anything_else_is_refused(raw):
    with pytest.raises(HostRefused):
        parse_authority(raw)


@pytest.mark.parametrize(
    ("raw", "scheme", "port"),
    [(b"a", "http", 80), (b"a", "https", 443), (b"a:8443", "https", 8443), (b"a:443", "http", 443)],
)
def test_the_effective_port_follows_the_scheme(raw, scheme, port):
    assert parse_authority(raw).effective_port(scheme) == port


@pytest.mark.parametrize(
    ("host", "is_loopback_host"),
    [
        ("localhost", True), ("localhost.", True), ("app.localhost", True), ("127.0.0.1", True), ("127.8.8.8", True),
        ("::1", True), ("[::1]", True), ("::ffff:127.0.0.1", True), ("localhost.evil.test", False),
        ("xlocalhost", False), ("10.0.0.1", False), ("[2001:db8::1]", False), ("::ffff:10.0.0.1", False), ("", False),
        ("127.0.0.1.evil.test", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_what_is_this_machine_itself_is_one_thing(host, is_loopback_host):
    assert is_loopback(host) is is_loopback_host


@pytest.mark.parametrize(
    ("url", "origin", "port", "is_loopback_url"),
    [
        ("http://[::1]:8000", "http://[::1]:8000", 8000, True),
        ("http://[0:0::1]/path?query", "http://[::1]", 80, True),
        ("https://App.localhost", "https://app.localhost", 443, True),
        ("http://LOCALHOST.:8000/", "http://localhost:8000", 8000, True),
        ("https://127.0.0.1.example.com", "https://127.0.0.1.example.com", 443, False),
    ],
)
def test_where_a_url_leads_is_read_in_one_way(url, origin, port, is_loopback_url):
    found = parse_origin(url)
    assert (str(found), found.port) == (origin, port)
    assert is_loopback(found.authority.host) is leads_to_loopback(url) is is_loopback_url


@pytest.mark.parametrize("url", ["", "localhost:8000", "http://", "http://[::1", "http://user@localhost", "http://a b"])
def test_what_leads_nowhere_has_no_origin(url):
    with pytest.raises(ValueError):
        parse_origin(url)
