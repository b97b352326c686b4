from __future__ import annotations

import base64
import json

import pytest

from authgate.authn.ownership import may_be_ours
from tests.support.signing import ISSUER, b64, key, make_trust, sign_token

THEIRS = {"iss": "https://app.test"}
STRANGER = {"kid": "app-key"}


def theirs(header: object = STRANGER, claims: object = THEIRS) -> bytes:
    return (
        b".".join(b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims))
        + b".AAAA"
    )


FOREIGN = {
    "a word": b"app-token-123",
    "base64 with padding": b"QWxhZGRpbjpvcGVu==",
    "one dot": b"ab.cd",
    "dots in an opaque token": b"glpat-GmsZ2xhYi1ydW5uZXItdG9rZW4.01.0w1kfm4xq",
    "nothing but dots": b"....",
    "another issuer and key": theirs(),
    "no key": theirs({"alg": "HS256", "typ": "JWT"}),
    "no issuer": theirs(claims={"sub": "alice"}),
    "a nearly equal issuer": theirs(claims={"iss": ISSUER + "/"}),
    "for us by somebody else": theirs(claims={**THEIRS, "aud": ISSUER}),
    "encrypted": theirs({"alg": "dir", "enc": "A256GCM"}, b"") + b".iv.tag",
}


@pytest.mark.parametrize("token", FOREIGN.values(), ids=FOREIGN)
def test_a_token_that_names_nothing_of_ours_is_somebody_elses(token):
    assert not may_be_ours(token, make_trust())


OURS = sign_token()
HEADER, CLAIMS, SIGNATURE = OURS.split(b".")
POSSIBLY_OURS = {
    "good": OURS,
    "expired": sign_token(claims={"iat": 1, "exp": 2}),
    "assertion": sign_token(signer=key("assertions", "ES256"), claims=THEIRS),
    "session": sign_token(header={"typ": "session+jwt"}),
    "our issuer, a retired key": sign_token(header={"kid": "retired"}),
    "our issuer, another key": theirs(claims={"iss": ISSUER}),
    "our key, another issuer": sign_token(claims=THEIRS),
    "our key, claims that are none": theirs({"kid": key().kid}, b"junk"),
    "padded": OURS + b"=",
    "padded inside": HEADER + b"=." + CLAIMS + b"." + SIGNATURE,
    "without a signature": HEADER + b"." + CLAIMS + b".",
    "a signature with a dot": OURS + b".x",
    "skipped characters in front": b"~" + OURS,
    "skipped characters inside": HEADER[:2] + b"~" + HEADER[2:] + b"." + CLAIMS + b"." + SIGNATURE,
    "stray bits": theirs()[:-6] + b"." + b"A",
    "two issuers": theirs(claims=b'{"iss":"https://app.test","iss":"%s"}' % ISSUER.encode()),
    "two keys": theirs(header=b'{"kid":"app","kid":"%s"}' % key().kid.encode()),
    "an issuer in a list": theirs(claims={"iss": [ISSUER]}),
    "a key in a list": theirs(header={"kid": [key().kid]}),
    "an issuer written with escapes": theirs(claims=b'{"iss":"\\u0068ttp://gateway.test"}'),
    "claims that are no object": theirs(claims=["x"]),
    "claims nested deeply": theirs(claims=b'{"a":' * 40 + b"1" + b"}" * 40),
    "a header with white space in front": theirs(b" \n{'kid'}"),
    "a header behind a byte order mark": theirs(b"\xef\xbb\xbf" + b'{"kid":"app"}'),
    "a cut header": HEADER[:-3] + b"." + CLAIMS + b"." + SIGNATURE,
    "five segments and not encrypted": theirs() + b".x.y",
    "too long to read": theirs(claims={**THEIRS, "x": "y" * 20_000}),
}  # fmt: skip


@pytest.mark.parametrize("token", POSSIBLY_OURS.values(), ids=POSSIBLY_OURS)
def test_a_token_that_could_pass_for_ours_counts_as_ours(token):
    assert may_be_ours(token, make_trust())


def test_a_header_of_white_space_alone_costs_little_and_is_no_token_of_ours():
    spaces = base64.urlsafe_b64encode(b" " * 6000).rstrip(b"=")
    assert not may_be_ours(spaces + b".a.b", make_trust())
