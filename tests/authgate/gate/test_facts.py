from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from authgate.gate.facts import FactsRefused, is_trusted_proxy, read_facts, received_from
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.wire.headers import Headers


def scope(
    *headers: tuple[str, str], peer: str = "203.0.113.9", host: str = "gateway.test", **changes: Any
) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in (("host", host), *headers)]
    values = {"method": "GET", "scheme": "http", "raw_path": b"/a", "query_string": b"", "client": (peer, 5)}
    return {**values, "headers": pairs, **changes}


class Routed:
    """A route table that names these hosts."""

    has_as_sent = False

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def names_host(self, host: str) -> bool:
        return host in self.hosts

    def takes_as_sent(self, host: str, path: str, method: str) -> bool:
        return False


WIKI = Routed("wiki.test", "blog.test")


def build_facts(of: dict[str, Any], routed: Routed | None = WIKI) -> RequestFacts:
    return read_facts(*received_from(of), routed)


def refusal(of: dict[str, Any]) -> Reason:
    with pytest.raises(FactsRefused) as caught:
        build_facts(of)
    return caught.value.reason


class AsSent(Routed):
    """Every route of these hosts takes paths as they come."""

    has_as_sent = True

    def takes_as_sent(self, host: str, path: str, method: str) -> bool:
        return host in self.hosts


@pytest.fixture
def trusted(settings):
    """10.0.0.0/8 and fd00::/8 are proxies of ours."""
    settings.AUTHGATE_TRUSTED_PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    is_trusted_proxy.cache_clear()
    yield
    is_trusted_proxy.cache_clear()


def test_facts_are_the_canonical_request():
    facts = build_facts(scope(("x", "1"), raw_path=b"/%61", query_string=b"b=%61"))
    assert (facts.method, facts.scheme, str(facts.authority)) == ("GET", "http", "gateway.test")
    assert (facts.path, facts.query, facts.client, facts.forwarded_for) == (
        "/a",
        b"?b=%61",
        "203.0.113.9",
        "203.0.113.9",
    )
    assert facts.headers == [(b"host", b"gateway.test"), (b"x", b"1")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"headers": []}, Reason.BAD_HOST, id="no Host"),
        pytest.param({"headers": [(b"host", b"a"), (b"host", b"a")]}, Reason.BAD_HOST, id="the same Host twice"),
        pytest.param({"headers": [(b"host", b"a/b")]}, Reason.BAD_HOST, id="CVE-2026-48710 Host with a path"),
        pytest.param({"raw_path": b"/a/../b"}, Reason.BAD_TARGET, id="path"),
        pytest.param({"raw_path": b"//evil.test"}, Reason.BAD_TARGET, id="CVE-2026-26205 two slashes"),
        pytest.param({"query_string": b"a#b"}, Reason.BAD_TARGET, id="query"),
        pytest.param({"method": "get"}, Reason.BAD_METHOD, id="lower case"),
        pytest.param({"method": "TRACE"}, Reason.BAD_METHOD, id="TRACE"),
        pytest.param({"method": "CONNECT"}, Reason.BAD_METHOD, id="CONNECT"),
        pytest.param({"method": 'G=":<>'}, Reason.BAD_METHOD, id="method of other characters"),
        pytest.param({"method": "A" * 33}, Reason.BAD_METHOD, id="long method"),
        pytest.param({"method": ""}, Reason.BAD_METHOD, id="no method"),
    ],
)
def test_a_doubtful_request_has_no_facts(changes, reason):
    assert refusal(scope(**changes)) is reason


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "M-SEARCH"])
def test_other_methods_are_left_to_the_policy(method):
    assert build_facts(scope(method=method)).method == method


FAMILY = (
    ("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "wiki.test"),
    ("x-forwarded-port", "80"), ("x-real-ip", "198.51.100.1"), ("forwarded", "for=198.51.100.1;proto=https"),
)  # fmt: skip


@pytest.mark.parametrize("peer", ["203.0.113.9", "127.0.0.1", "11.0.0.1", "::1", "", "unix:"])
@pytest.mark.usefixtures("trusted")
def test_a_stranger_is_not_believed_about_itself(peer):
    facts = build_facts(scope(*FAMILY, peer=peer))
    assert (facts.client, facts.forwarded_for) == (peer, peer)
    assert (facts.scheme, str(facts.authority)) == ("http", "gateway.test")


@pytest.mark.usefixtures("trusted")
def test_a_peer_without_an_address_is_a_stranger():
    assert build_facts(scope(*FAMILY, client=None)).client == ""


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "fd00::1%eth0"])
@pytest.mark.usefixtures("trusted")
def test_a_trusted_proxy_speaks_for_the_visitor(peer):
    facts = build_facts(scope(*FAMILY, peer=peer, host="10.0.0.7:8000"))
    assert (facts.client, facts.scheme, str(facts.authority)) == ("198.51.100.1", "https", "wiki.test:80")
    assert facts.forwarded_for == f"198.51.100.1, {peer.removesuffix('%eth0').removeprefix('::ffff:')}"


@pytest.mark.parametrize(
    ("values", "client", "forwarded_for"),
    [
        pytest.param([], "10.0.0.1", "10.0.0.1", id="the proxy itself asks"),
        pytest.param(["6.6.6.6, 1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1", id="what the client said is dropped"),
        pytest.param(["6.6.6.6", "1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1", id="two headers are one list"),
        pytest.param(["1.2.3.4, 10.9.9.9"], "1.2.3.4", "1.2.3.4, 10.9.9.9, 10.0.0.1", id="two proxies of ours"),
        pytest.param(["10.1.1.1,10.9.9.9"], "10.1.1.1", "10.1.1.1, 10.9.9.9, 10.0.0.1", id="nobody but proxies"),
        pytest.param(["junk, 1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1", id="junk of the client is never read"),
        pytest.param(["2001:DB8::0:1"], "2001:db8::1", "2001:db8::1, 10.0.0.1", id="one spelling of IPv6"),
        pytest.param(["\t1.2.3.4 "], "1.2.3.4", "1.2.3.4, 10.0.0.1", id="spaces"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_hops_count_from_the_right(values, client, forwarded_for):
    facts = build_facts(scope(*(("x-forwarded-for", value) for value in values), peer="10.0.0.1"))
    assert (facts.client, facts.forwarded_for) == (client, forwarded_for)


@pytest.mark.parametrize(
    ("hop", "client"),
    [
        pytest.param("203.0.113.7:51008", "203.0.113.7", id="port"),
        pytest.param("[2001:db8::1]:443", "2001:db8::1", id="port and brackets"),
        pytest.param("[2001:DB8::0:1]", "2001:db8::1", id="brackets"),
        pytest.param("::ffff:203.0.113.7", "203.0.113.7", id="IPv4-mapped"),
        pytest.param("[::ffff:cb00:7107]:80", "203.0.113.7", id="IPv4-mapped in hex with a port"),
        pytest.param("fe80::1%eth0", "fe80::1", id="zone"),
        pytest.param("fe80::1%é", "fe80::1", id="zone of any characters"),
        pytest.param("[fe80::1%eth0]:443", "fe80::1", id="zone with a port"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_a_forwarded_address_has_one_text(hop, client):
    facts = build_facts(scope(("x-forwarded-for", f"6.6.6.6, {hop}"), peer="10.0.0.1"))
    assert (facts.client, facts.forwarded_for) == (client, f"{client}, 10.0.0.1")


@pytest.mark.parametrize("hop", ["10.9.9.9:51008", "[fd00::7]:443", "[fd00::7]", "::ffff:10.9.9.9"])
@pytest.mark.usefixtures("trusted")
def test_a_trusted_hop_is_trusted_in_any_spelling(hop):
    assert build_facts(scope(("x-forwarded-for", f"1.2.3.4, {hop}"), peer="10.0.0.1")).client == "1.2.3.4"


NO_ADDRESS = (
    "", "unknown", "_hidden", "unix:", "1.2.3.4\xa0", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "[1.2.3.4", "[]:80",
    "01.2.3.4", "1.2.3.4%eth0", "proxy.test", '"1.2.3.4"', "1" * 100, "fe80::1%" + "z" * 100,
)  # fmt: skip


@pytest.mark.parametrize("hop", NO_ADDRESS)
@pytest.mark.usefixtures("trusted")
def test_for_a_hop_without_an_address_the_nearest_with_one_counts(hop):
    facts = build_facts(scope(("x-forwarded-for", f"6.6.6.6, {hop}, 10.9.9.9"), peer="10.0.0.1"))
    assert (facts.client, facts.forwarded_for) == ("10.9.9.9", "10.9.9.9, 10.0.0.1")
    assert build_facts(scope(("x-forwarded-for", hop), peer="10.0.0.1")).client == "10.0.0.1"


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("HTTPS", "https"), ("Https", "https"), ("WSS", "https"), ("http", "http"), ("HTTP", "http"), ("ws", "http")],
)
@pytest.mark.usefixtures("trusted")
def test_a_forwarded_scheme_counts_in_any_case(proto, scheme):
    other = {"https": "http", "http": "https"}[scheme]
    assert build_facts(scope(("x-forwarded-proto", proto), peer="10.0.0.1", scheme=other)).scheme == scheme


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ((), False), (("",), False), (("h2c",), False), (("h2",), False), (("TLS/1.0",), False), (("HTTP/2.0",), False),
        (("websocket",), True), (("h2c, websocket",), True), (("h2c", "websocket"), True), (("WebSocket",), True),
    ],
)  # fmt: skip
def test_whoever_asks_for_another_protocol_is_known(offers, expected):
    assert build_facts(scope(*(("upgrade", offer) for offer in offers))).wants_upgrade is expected


@pytest.mark.parametrize(
    ("peer", "client"),
    [("::ffff:203.0.113.9", "203.0.113.9"), ("2001:DB8::0:1", "2001:db8::1"), ("fe80::1%2", "fe80::1")],
)
def test_a_peer_has_one_text(peer, client):
    facts = build_facts(scope(peer=peer))
    assert (facts.client, facts.forwarded_for) == (client, client)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        pytest.param("x-forwarded-proto", "javascript", Reason.BAD_HEADER, id="scheme"),
        pytest.param("x-forwarded-proto", "https, ", Reason.BAD_HEADER, id="empty scheme"),
        pytest.param("x-forwarded-host", "a/b", Reason.BAD_HOST, id="host with a path"),
        pytest.param("x-forwarded-host", "é.test", Reason.BAD_HOST, id="host that is not ASCII"),
        pytest.param("x-forwarded-host", "a,", Reason.BAD_HOST, id="empty host"),
        pytest.param("x-forwarded-port", "0", Reason.BAD_HEADER, id="port 0"),
        pytest.param("x-forwarded-port", "65536", Reason.BAD_HEADER, id="port too large"),
        pytest.param("x-forwarded-port", "8e1", Reason.BAD_HEADER, id="port of letters"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_nonsense_from_a_trusted_proxy_is_refused(name, value, reason):
    assert refusal(scope((name, value), peer="10.0.0.1")) is reason


@pytest.mark.parametrize(
    ("headers", "scheme", "authority"),
    [
        pytest.param([("x-forwarded-proto", "wss")], "https", "inner.test:8000", id="wss"),
        pytest.param([("x-forwarded-proto", "http, https")], "https", "inner.test:8000", id="nearest scheme"),
        pytest.param([("x-forwarded-host", "evil.test, Wiki.test.")], "http", "wiki.test", id="nearest host"),
        pytest.param([("x-forwarded-host", "gateway.test")], "http", "gateway.test", id="the gateway's own host"),
        pytest.param([("x-forwarded-host", "INNER.test.")], "http", "inner.test", id="the same host again"),
        pytest.param([("x-forwarded-host", "inner.test:8000")], "http", "inner.test:8000", id="the same port again"),
        pytest.param([("x-forwarded-port", "80")], "http", "inner.test:8000", id="usual port"),
        pytest.param(
            [("x-forwarded-host", "wiki.test"), ("x-forwarded-port", "81, 8443")],
            "http",
            "wiki.test:8443",
            id="nearest port",
        ),
        pytest.param(
            [("x-forwarded-host", "wiki.test"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")],
            "https",
            "wiki.test",
            id="usual TLS port",
        ),
        pytest.param(
            [("x-forwarded-host", "wiki.test:8443"), ("x-forwarded-port", "82")],
            "http",
            "wiki.test:8443",
            id="the host's own port",
        ),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_the_address_the_visitor_used_is_the_nearest_proxys_word(settings, headers, scheme, authority):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.test:8443"
    facts = build_facts(scope(*headers, peer="10.0.0.1", host="inner.test:8000"))
    assert (facts.scheme, str(facts.authority)) == (scheme, authority)


@pytest.mark.parametrize(
    ("host", "forwarded", "reason"),
    [
        pytest.param("inner.test", ("x-forwarded-host", "evil.test"), Reason.BAD_HOST, id="a host that nobody serves"),
        pytest.param("wiki.test", ("x-forwarded-host", "evil.test"), Reason.BAD_HOST, id="for a service's host"),
        pytest.param("wiki.test", ("x-forwarded-host", "blog.test"), Reason.BAD_HOST, id="one service's for another's"),
        pytest.param("wiki.test", ("x-forwarded-host", "gateway.test"), Reason.BAD_HOST, id="the gateway's for it"),
        pytest.param("gateway.test", ("x-forwarded-host", "wiki.test"), Reason.BAD_HOST, id="a service's for ours"),
        pytest.param("wiki.test", ("x-forwarded-host", "wiki.test:444"), Reason.BAD_HEADER, id="port of the host"),
        pytest.param("wiki.test:444", ("x-forwarded-host", "wiki.test:445"), Reason.BAD_HEADER, id="another port"),
        pytest.param("wiki.test", ("x-forwarded-port", "444"), Reason.BAD_HEADER, id="port"),
        pytest.param("gateway.test", ("x-forwarded-port", "444"), Reason.BAD_HEADER, id="port of the gateway"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_what_a_trusted_proxy_has_not_set_is_the_clients_and_leads_nowhere(settings, host, forwarded, reason):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.test:8443"
    assert refusal(scope(forwarded, peer="10.0.0.1", host=host)) is reason


@pytest.mark.parametrize(
    ("believed", "client", "scheme", "authority"),
    [
        ("for", "198.51.100.1", "http", "inner.test"),
        ("for,proto", "198.51.100.1", "https", "inner.test"),
        ("host", "10.0.0.1", "http", "wiki.test"),
        ("port", "10.0.0.1", "http", "inner.test"),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_a_setting_narrows_what_is_believed_of_a_trusted_proxy(settings, believed, client, scheme, authority):
    settings.AUTHGATE_FORWARDED_HEADERS = frozenset(f"x-forwarded-{name}".encode() for name in believed.split(","))
    facts = build_facts(scope(*FAMILY, peer="10.0.0.1", host="inner.test"))
    assert (facts.client, facts.scheme, str(facts.authority)) == (client, scheme, authority)


def test_a_forwarded_host_counts_no_longer_than_a_route_names_it(trusted):
    forwarded = scope(("x-forwarded-host", "wiki.test"), peer="10.0.0.1", host="inner.test")
    forwarded["headers"] = Headers(forwarded["headers"])
    assert build_facts(forwarded).authority.host == "wiki.test"
    with pytest.raises(FactsRefused):
        build_facts(forwarded, Routed())


def test_headers_that_come_again_speak_for_their_own_connection(trusted):
    forwarded = scope(("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"))
    headers = Headers(forwarded["headers"])
    seen = [
        build_facts({**forwarded, "client": (peer, 5), "headers": headers})
        for peer in ("10.0.0.1", "203.0.113.9", "10.0.0.1")
    ]
    assert [facts.client for facts in seen] == ["192.0.2.1", "203.0.113.9", "192.0.2.1"]
    assert [facts.scheme for facts in seen] == ["https", "http", "https"]


def test_headers_that_come_again_say_nothing_of_the_scheme():
    headers = Headers(scope()["headers"])
    seen = [build_facts({**scope(scheme=scheme), "headers": headers}).scheme for scheme in ("https", "http")]
    assert seen == ["https", "http"]


def test_malformed_headers_that_come_again_are_refused_again():
    twice = Headers([(b"host", b"a.test"), (b"host", b"a.test")])
    assert [refusal({**scope(), "headers": twice}) for _ in range(2)] == [Reason.BAD_HOST] * 2


def test_each_target_is_read_although_its_headers_come_again():
    headers = Headers([(b"host", b"a.test")])
    assert [build_facts({**scope(raw_path=path), "headers": headers}).path for path in (b"/a", b"/b")] == ["/a", "/b"]
    assert refusal({**scope(raw_path=b"/a/../b"), "headers": headers}) is Reason.BAD_TARGET
    assert refusal({**scope(method="TRACE"), "headers": headers}) is Reason.BAD_METHOD


# --- paths without a canonical form ---------------------------------------------------------------------------------
def as_sent(host: str, raw_path: bytes) -> RequestFacts:
    return build_facts(scope(host=host, raw_path=raw_path), AsSent("git.test"))


def test_where_a_route_takes_paths_as_sent_the_path_is_the_one_that_came():
    facts = as_sent("git.test", b"/group%2Fproject")
    assert (facts.path, facts.as_sent) == ("/group%2Fproject", True)


def test_a_path_with_a_canonical_form_has_it_there_too():
    facts = as_sent("git.test", b"/%67roup")
    assert (facts.path, facts.as_sent) == ("/group", False)


@pytest.mark.parametrize(
    ("host", "raw_path"),
    [("wiki.test", b"/group%2Fproject"), ("git.test", b"/auth%2Flogin"), ("git.test", b"/x%2F..%2Fauth%2Flogin")],
    ids=["no such route", "below the gateway's own", "below it once resolved"],
)
def test_everywhere_else_it_is_refused(host, raw_path):
    with pytest.raises(FactsRefused) as caught:
        as_sent(host, raw_path)
    assert caught.value.reason is Reason.BAD_TARGET


@pytest.mark.parametrize(("proto", "port"), [("https", 443), ("http", 80)])
def test_a_forwarded_host_may_name_the_usual_port_of_its_scheme(trusted, proto, port):
    headers = ("x-forwarded-host", f"wiki.test:{port}"), ("x-forwarded-proto", proto)
    assert build_facts(scope(*headers, peer="10.0.0.1", host="127.0.0.1:9")).authority.effective_port(proto) == port


@pytest.mark.parametrize(("proto", "port"), [("http", 443), ("https", 444)])
def test_and_no_other_port(trusted, proto, port):
    headers = ("x-forwarded-host", f"wiki.test:{port}"), ("x-forwarded-proto", proto)
    assert refusal(scope(*headers, peer="10.0.0.1", host="127.0.0.1:9")) is Reason.BAD_HEADER
