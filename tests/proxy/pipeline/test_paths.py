"""Every spelling of a path: either refused, or policy and upstream see the very same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.neighbours import neighbour_policy, upstream_sees_nothing
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def gate(gateway_template: Path, session_upstream: RecordingUpstream, tmp_path_factory) -> Iterator[Gateway]:
    data = tmp_path_factory.mktemp("paths") / "data"
    with Gateway(data, template=gateway_template, policy=neighbour_policy(session_upstream.target)) as gateway:
        yield gateway.start()


REFUSED = {
    "fragment": b"/open/x#/y",
    "backslash": b"/open\\admin",
    "space": b"/open/a b",
    "tab": b"/open/a\tb",
    "NUL": b"/open/a\x00b",
    "8-bit": b"/open/\xc3\xa9",
    "64 KiB": b"/open/" + b"a" * 65536,
    "CVE-2026-26205 two slashes": b"//open/admin",
    "two slashes and a host": b"//evil.test/open",
    "CVE-2021-29492 slashes inside": b"/open//admin",
    "slashes at the end": b"/open//",
    "CVE-2026-33494 dot dot": b"/open/x/../admin",
    "dot": b"/open/./admin",
    "escapes as IIS writes them": b"/open/%25u002e%25u002e/admin",
    "fullwidth percent sign": b"/open/%EF%BC%852e%EF%BC%852e/admin",
    "division slash": b"/open/..%E2%88%95admin",
    "fraction slash": b"/open/..%E2%81%84admin",
    "yen sign, a backslash in Japan": b"/open/..%C2%A5admin",
    "dot at the end": b"/open/.",
    "dot dot at the end": b"/open/..",
    "escaped dot dot": b"/open/x/%2e%2e/admin",
    "half escaped dot dot": b"/open/x/.%2e/admin",
    "parameter dot dot": b"/open/x/..;/admin",
    "escaped parameter dot dot": b"/open/x/..%3b/admin",
    "escaped query dot dot": b"/open/x/..%3f/admin",
    "escaped space dot dot": b"/open/x/..%20/admin",
    "encoded twice": b"/open/x/%252e%252e%252fadmin",
    "encoded twice by parts": b"/open/x/%25%32%65%25%32%65/admin",
    "overlong": b"/open/x%c0%afadmin",
    "overlong in three": b"/open/x%e0%80%afadmin",
    "IIS": b"/open/x%u002fadmin",
    "percent": b"/open/%",
    "percent 1": b"/open/%1",
    "percent zz": b"/open/%zz",
    "CVE-2021-29492 escaped slash": b"/open%2fadmin",
    "escaped slash in upper case": b"/open/%2Fadmin",
    "CVE-2026-52844 escaped backslash": b"/open%5cadmin",
    "escaped NUL": b"/open/admin%00",
    "escaped newline": b"/open/%0aadmin",
    "escaped tab": b"/open/admin%09",
    "path parameter": b"/open/admin;x=1",
    "CVE-2025-54576 matrix parameter": b"/open;/status",
    "fullwidth dot dot": b"/open/x/%ef%bc%8e%ef%bc%8e/admin",
    "two dot leader": b"/open/x/%e2%80%a5/admin",
    "asterisk": b"*",
    "relative": b"open/x",
    "authority": b"localhost:80",
    "absolute of another host": b"http://evil.test/open/x",
    "absolute with a user": b"http://localhost@evil.test/open",
    "absolute of no host": b"http:///open",
    "absolute of another scheme": b"file:///open",
    "absolute with two slashes": b"http://localhost//open",
}


@pytest.mark.parametrize("target", REFUSED.values(), ids=REFUSED.keys())
def test_an_ambiguous_target_is_refused(gate, upstream, target):
    response = upstream_sees_nothing(gate, upstream, raw.request(target=target))
    assert response.status == (414 if len(target) > 8192 else 400)


# Public for those who read them as they stand, the administrator's for somebody who does not.
SECOND_READING = {
    "CVE-2026-41059 escaped fragment": b"/admin%23/x",
    "CVE-2025-54576 escaped query": b"/admin%3Fx=/status",
    "escaped parameter": b"/admin%3Bx/y",
    "escaped space": b"/admin%20",
    "upper case": b"/ADMIN",
    "one capital": b"/Admin/x",
    "dot at the end": b"/admin.",
    "dots in the middle": b"/admin../x",
    "segment of dots": b"/.../admin",
    "fullwidth slash": b"%ef%bc%8fadmin",
    "fullwidth slash behind a name": b"/admin%ef%bc%8fx",
    "fullwidth letter": b"/%ef%bd%81dmin",
}


@pytest.mark.parametrize("prefix", [b"/open", b"/strip"])
@pytest.mark.parametrize("target", SECOND_READING.values(), ids=SECOND_READING.keys())
def test_a_path_that_could_be_read_as_a_stricter_route_never_passes(gate, upstream, prefix, target):
    response = gate.get(prefix + target)
    assert response.status in (400, 404)  # 404: with the slash folded away it is no segment of the open prefix
    assert upstream.requests == []


ADMIN = {
    "plain": b"/admin",
    "below": b"/admin/x",
    "escaped letter": b"/%61dmin",
    "all escaped": b"/%61%64%6D%69%6e",
    "slash at the end": b"/admin/",
    "query": b"/admin?x=/status",
    "query of two marks": b"/admin??/open",
    "dot dot in the query": b"/admin?/../../open",
}


@pytest.mark.parametrize("prefix", [b"/open", b"/strip"])
@pytest.mark.parametrize("target", ADMIN.values(), ids=ADMIN.keys())
def test_every_spelling_of_a_strict_route_is_strict(gate, upstream, prefix, target):
    assert gate.get(prefix + target).status == 401
    assert upstream.requests == []


FORWARDED = {
    "plain": (b"/open/x", b"/open/x"),
    "prefix itself": (b"/open", b"/open"),
    "slash at the end": (b"/open/x/", b"/open/x/"),
    "case": (b"/open/ABC", b"/open/ABC"),
    "neighbour of a strict route": (b"/open/administrator", b"/open/administrator"),
    "escaped letters": (b"/op%65n/%7Ex%2d", b"/open/~x-"),
    "lower case escape": (b"/open/caf%c3%a9", b"/open/caf%C3%A9"),
    "escaped question mark": (b"/open/what%3f", b"/open/what%3F"),
    "escaped hash": (b"/open/C%23", b"/open/C%23"),
    "escaped semicolon": (b"/open/a%3bb", b"/open/a%3Bb"),
    "escaped percent": (b"/open/100%25", b"/open/100%25"),
    "sub-delimiters": (b"/open/a:b@c=d&e,f(g)!*'$+", b"/open/a:b@c=d&e,f(g)!*'$+"),
    "brackets": (b"/open/[a]|^", b"/open/[a]|^"),
    "dots inside": (b"/open/a..b/...c/.d", b"/open/a..b/...c/.d"),
    "query": (b"/open/x?a=%2F..//;%00&b", b"/open/x?a=%2F..//;%00&b"),
    "empty query": (b"/open/x?", b"/open/x?"),
    "question mark in the query": (b"/open/x??y?", b"/open/x??y?"),
    "absolute of our host": (b"http://localhost/open/x?y", b"/open/x?y"),
    "absolute in another case": (b"HTTP://LocalHost/open", b"/open"),
    "stripped": (b"/strip/x/y?z", b"/x/y?z"),
    "stripped whole": (b"/strip", b"/"),
    "stripped to a slash": (b"/strip/", b"/"),
    "stripped to a slash and a query": (b"/strip/?x", b"/?x"),
    "stripped with escapes": (b"/str%69p/%c3%a9", b"/%C3%A9"),
    "stripped once": (b"/strip/strip/x", b"/strip/x"),
    "stripped before a host": (b"/strip/evil.test", b"/evil.test"),
    "stripped before a scheme": (b"/strip/http:x", b"/http:x"),
}


@pytest.mark.parametrize(("target", "sent"), FORWARDED.values(), ids=FORWARDED.keys())
def test_policy_and_upstream_see_the_same_path(gate, upstream, target, sent):
    response = gate.get(target) if target.startswith(b"/") else gate.request(target, host="localhost")
    assert response.status == 200
    assert upstream.only.target == sent
    (line,) = gate.log_lines(wait_for=1, request_id=upstream.only.header("x-request-id"))
    prefix = upstream.only.header("x-forwarded-prefix") or ""
    assert line["path"] in (prefix + upstream.only.path.decode(), prefix)
    assert line["decision"] == "allow"


@pytest.mark.parametrize(
    "target", [b"/strip//evil.test/x", b"/strip/%2Fevil.test", b"/strip/%5Cevil.test", b"/strip/\\evil"]
)
def test_a_stripped_path_never_begins_with_a_host(gate, upstream, target):
    assert upstream_sees_nothing(gate, upstream, raw.request(target=target)).status == 400


@pytest.mark.parametrize(
    "target", [b"/strip-x", b"/strip.x", b"/stripx/admin", b"/openx", b"/exact/", b"/exact/x", b"/Exact"]
)
def test_a_prefix_ends_with_its_segment(gate, upstream, target):
    assert gate.get(target).status == 404
    assert upstream.requests == []


def test_a_route_that_is_switched_off_is_closed_not_handed_on(gate, upstream):
    assert gate.get("/open/off/x").json()["reason"] == "route_disabled"
    assert upstream.requests == []
