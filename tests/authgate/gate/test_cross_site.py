from __future__ import annotations

import pytest

from authgate.gate.cross_site import is_cross_site
from authgate.request import RequestFacts
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers


def facts(method: str, *headers: tuple[str, str], scheme: str = "http", host: str = "gateway.test") -> RequestFacts:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return RequestFacts(method, scheme, parse_authority(host.encode()), "/", b"", "", "", Headers(pairs))


SITE, ORIGIN = "sec-fetch-site", "origin"
OWN = "http://gateway.test"

ALLOWED = {
    "no browser": (),
    "same origin": ((SITE, "same-origin"),),
    "typed by the user": ((SITE, "none"),),
    "own origin": ((ORIGIN, OWN),),
    "own origin with its usual port": ((ORIGIN, f"{OWN}:80"),),
    "own origin in upper case": ((ORIGIN, "http://Gateway.Test"),),
    "fetch metadata before origin": ((SITE, "same-origin"), (ORIGIN, "null")),
}
REFUSED = {
    "cross site": ((SITE, "cross-site"),),
    "same site is another origin": ((SITE, "same-site"),),
    "unknown word": ((SITE, "sameorigin"),),
    "empty word": ((SITE, ""),),
    "other case": ((SITE, "Same-Origin"),),
    "fetch metadata before own origin": ((SITE, "cross-site"), (ORIGIN, OWN)),
    "metadata twice": ((SITE, "same-origin"), (SITE, "same-origin")),
    "origin twice": ((ORIGIN, OWN), (ORIGIN, OWN)),
    "two origins in one": ((ORIGIN, f"{OWN} {OWN}"),),
    "null": ((ORIGIN, "null"),),
    "empty origin": ((ORIGIN, ""),),
    "other host": ((ORIGIN, "http://evil.test"),),
    "suffix of our host": ((ORIGIN, "http://evilgateway.test"),),
    "prefix of our host": ((ORIGIN, "http://gateway.test.evil.test"),),
    "subdomain": ((ORIGIN, "http://a.gateway.test"),),
    "other port": ((ORIGIN, f"{OWN}:8080"),),
    "other scheme": ((ORIGIN, "https://gateway.test"),),
    "other scheme on our port": ((ORIGIN, "https://gateway.test:80"),),
    "host only": ((ORIGIN, "gateway.test"),),
    "user name": ((ORIGIN, "http://gateway.test@evil.test"),),
    "our host as user name": ((ORIGIN, "http://x@gateway.test"),),
    "path": ((ORIGIN, f"{OWN}/x"),),
    "control characters": ((ORIGIN, "http://gate\tway.test"),),
    "not ASCII": ((ORIGIN, "http://gateway.tést"),),
}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "PROPFIND")


@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED.keys())
@pytest.mark.parametrize("method", UNSAFE)
def test_own_pages_and_programs_may_write(method, headers):
    assert not is_cross_site(facts(method, *headers))


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", UNSAFE)
def test_other_sites_may_not_write(method, headers):
    assert is_cross_site(facts(method, *headers))


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_exempt(method, headers):
    assert not is_cross_site(facts(method, *headers))


@pytest.mark.parametrize(
    ("host", "origin"),
    [("gateway.test", "https://gateway.test:443"), ("gateway.test:443", "https://gateway.test"),
     ("gateway.test:8443", "https://gateway.test:8443"), ("[::1]:8443", "https://[0:0::1]:8443")],
)  # fmt: skip
def test_ports_and_spellings_of_one_origin_are_one(host, origin):
    assert not is_cross_site(facts("POST", (ORIGIN, origin), scheme="https", host=host))
