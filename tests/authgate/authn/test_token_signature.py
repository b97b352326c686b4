from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.authn.tokens import Kind, verify
from authgate.reason import Reason
from authgate.request import InvalidCredential
from tests.support.signing import b64, compact, good_claims, good_header, key, make_trust, sign_token

BAD = Reason.INVALID_TOKEN


def refused(token: bytes, kind: Kind = Kind.ACCESS, trust=None) -> Reason:
    with pytest.raises(InvalidCredential) as refusal:
        verify(token, trust or make_trust(), kind, time.time())
    return refusal.value.reason


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_of_ours_is_accepted(algorithm):
    trust = make_trust(algorithm=algorithm)
    claims = verify(sign_token(signer=trust.token_signer), trust, Kind.ACCESS, time.time())
    assert (claims.subject, claims.token_id, claims.roles) == ("alice", "t-1", frozenset({"user"}))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_changed_byte_is_noticed(algorithm, part):
    trust = make_trust(algorithm=algorithm)
    parts = sign_token(signer=trust.token_signer).split(b".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + b"=="))
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1
        refused(b".".join([*parts[:part], b64(bytes(changed)), *parts[part + 1 :]]), trust=trust)


def test_a_signature_of_another_key_under_our_kid_is_bad():
    token = sign_token(signer=key("attacker"), header={"kid": key().kid})
    assert refused(token) is Reason.BAD_SIGNATURE


def test_a_key_we_do_not_have_is_unknown():
    assert refused(sign_token(signer=key("attacker"))) is Reason.UNKNOWN_KEY


def test_the_key_for_assertions_signs_no_token():
    assert refused(sign_token(signer=key("assertions", "ES256"))) is Reason.UNKNOWN_KEY


def test_what_a_forged_token_says_is_not_commented_on():
    claims = {"exp": 1, "aud": "elsewhere", "iss": "nobody", "jti": "gone"}
    token = sign_token(signer=key("attacker"), header={"kid": key().kid}, claims=claims)
    assert refused(token, trust=make_trust(revoked=("gone",))) is Reason.BAD_SIGNATURE


PUBLIC = key()._public
SPELLINGS = {
    "pem": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "pem-stripped": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
    "pem-bom": b"\xef\xbb\xbf" + PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "pkcs1-pem": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "der": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "pkcs1-der": PUBLIC.public_bytes(Encoding.DER, PublicFormat.PKCS1),
    "ssh": PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    "jwk": json.dumps(key().public_jwk).encode(),
    "jwks": make_trust().jwks,
    "modulus": base64.urlsafe_b64decode(key().public_jwk["n"] + "=="),
    "empty": b"",
}


@pytest.mark.parametrize("secret", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "RS256"])
def test_the_public_key_is_no_hmac_secret(algorithm, secret):
    digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(algorithm, hashlib.sha256)
    header = json.dumps(good_header(key(), alg=algorithm)).encode()
    token = compact(header, json.dumps(good_claims()).encode(), lambda text: hmac.new(secret, text, digest).digest())
    assert refused(token) in (BAD, Reason.BAD_SIGNATURE)


ALGORITHMS = [
    "none", "None", "nOnE", "NONE", "", "HS256", "RS384", "RS512", "PS256", "ES256", "ES256K", "EdDSA", "rs256",
    "RS256 ", " RS256", "RS256\x00", "XX256", None, True, 0, ["RS256"], {"RS256": 1}, ...,
]  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_the_header_never_chooses_the_algorithm(algorithm):
    assert refused(sign_token(header={"alg": algorithm})) is BAD


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE"])
@pytest.mark.parametrize("signature", [b"", b"x", b64(b"\x00" * 256)], ids=["empty", "short", "zeros"])
def test_an_unsigned_token_is_refused(algorithm, signature):
    parts = sign_token(header={"alg": algorithm}).split(b".")
    assert refused(b".".join([*parts[:2], signature])) is BAD


@pytest.mark.parametrize("zeros", [64, 0, 63, 65, 128, 4096])
def test_an_ecdsa_signature_of_zeros_is_bad(zeros):
    trust = make_trust(algorithm="ES256")
    parts = sign_token(signer=trust.token_signer).split(b".")
    assert refused(b".".join([*parts[:2], b64(bytes(zeros))]), trust=trust) in (BAD, Reason.BAD_SIGNATURE)


def test_an_ecdsa_signature_in_der_is_bad():
    trust = make_trust(algorithm="ES256")
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    raw = trust.token_signer.sign(b"x")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    parts = sign_token(signer=trust.token_signer).split(b".")
    assert refused(b".".join([*parts[:2], b64(der)]), trust=trust) is Reason.BAD_SIGNATURE


HEADERS = {
    "crit-unknown": {"crit": ["bork"], "bork": True},
    "crit-empty": {"crit": []},
    "crit-text": {"crit": "exp"},
    "crit-alg": {"crit": ["alg"]},
    "crit-null": {"crit": None},
    "b64-false": {"b64": False},
    "b64-false-crit": {"b64": False, "crit": ["b64"]},
    "b64-true": {"b64": True},
    "jws-with-enc": {"enc": "A256GCM"},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
    "jwk": {"jwk": key("attacker").public_jwk},
    "jku": {"jku": "http://127.0.0.1:9/jwks"},
    "x5u": {"x5u": "http://127.0.0.1:9/cert"},
    "x5c": {"x5c": ["MIIB"]},
    "pbes2": {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31, "p2s": "AA"},
    "deep": {"x": eval("[" * 90 + "]" * 90)},
    "kid-missing": {"kid": ...},
    "kid-empty": {"kid": ""},
    "kid-null": {"kid": None},
    "kid-list": {"kid": [key().kid]},
    "kid-object": {"kid": {"kid": key().kid}},
    "kid-number": {"kid": 0},
    "kid-path": {"kid": "../../../../dev/null"},
    "kid-sql": {"kid": "' OR 1=1--"},
    "kid-unicode": {"kid": "ké\u2028"},
    "kid-surrogate": {"kid": "\ud800"},
    "kid-long": {"kid": "k" * 9000},
    "kid-huge": {"kid": "k" * 1_000_000},
    "kid-case": {"kid": key().kid.swapcase()},
    "kid-space": {"kid": key().kid + " "},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_with_anything_but_a_key_of_ours_is_refused(header):
    assert refused(sign_token(header=header)) in (BAD, Reason.UNKNOWN_KEY)


def test_a_key_that_the_token_brings_along_is_never_used():
    attacker = key("attacker")
    token = sign_token(signer=attacker, header={"kid": key().kid, "jwk": attacker.public_jwk})
    assert refused(token) is BAD


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "typ",
    [*list(Kind), "JWT", "jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "", None, ..., [], {}, [Kind.ACCESS]],
)
def test_one_kind_never_passes_as_another(kind, typ):
    allowed = {(Kind.ACCESS, Kind.ACCESS), (Kind.SESSION, Kind.SESSION), (Kind.SESSION, Kind.ACCESS)}
    token = sign_token(header={"typ": typ})
    if (kind, str(typ)) in allowed:
        assert verify(token, make_trust(), kind, time.time()).subject == "alice"
    else:
        assert refused(token, kind) is BAD


def _raw(header: str | bytes = "", claims: str | bytes = "") -> bytes:
    header = header or json.dumps(good_header(key()))
    claims = claims or json.dumps(good_claims())
    parts = [part if isinstance(part, bytes) else part.encode() for part in (header, claims)]
    return sign_token(header=parts[0], claims=parts[1])


HEAD, BODY = json.dumps(good_header(key())), json.dumps(good_claims())
GOOD = sign_token()
SHAPES = {
    "empty": b"",
    "dots": b"..",
    "one-part": GOOD.split(b".")[0],
    "two-parts": GOOD.rpartition(b".")[0],
    "unsigned": GOOD.rpartition(b".")[0] + b".",
    "four-parts": GOOD + b".AAAA",
    "jwe": b".".join([GOOD, b"AAAA", b"AAAA"]),
    "million-dots": b"." * 1_000_000,
    "too-long": GOOD + b"A" * 17_000,
    "padded": GOOD + b"=",
    "padded-header": GOOD.replace(b".", b"=.", 1),
    "newline": GOOD + b"\n",
    "space": b" " + GOOD,
    "inner-newline": GOOD[:20] + b"\n" + GOOD[20:],
    "standard-alphabet": GOOD.replace(b"-", b"+").replace(b"_", b"/").replace(b"eyJ", b"eyJ/", 1),
    "nul": GOOD + b"\x00",
    "not-ascii": GOOD + b"\xc3\xa9",
    "length-1-mod-4": GOOD[: -len(GOOD.rpartition(b".")[2])] + b"AAAAA",
    "header-utf16": _raw(header=HEAD.encode("utf-16")),
    "header-utf16le": _raw(header=HEAD.encode("utf-16-le")),
    "header-bom": _raw(header=b"\xef\xbb\xbf" + HEAD.encode()),
    "header-latin1": _raw(header=HEAD.replace("at+jwt", "é").encode("latin-1")),
    "header-duplicate": _raw(header=HEAD[:-1] + ', "alg": "none"}'),
    "header-duplicate-kid": _raw(header='{"kid": "x", ' + HEAD[1:]),
    "header-escaped-duplicate": _raw(header=HEAD[:-1] + ', "\\u0061lg": "none"}'),
    "header-list": _raw(header=f"[{HEAD}]"),
    "header-null": _raw(header="null"),
    "header-trailing": _raw(header=HEAD + "{}"),
    "header-deep": _raw(header='{"alg":' + "[" * 5000 + "]" * 5000 + "}"),
    "header-deep-unclosed": _raw(header="[" * 8000),
    "header-bignum": _raw(header='{"alg": ' + "9" * 6000 + "}"),
    "payload-utf16": _raw(claims=BODY.encode("utf-16")),
    "payload-bom": _raw(claims=b"\xef\xbb\xbf" + BODY.encode()),
    "payload-invalid-utf8": _raw(claims=BODY.replace("alice", "al\xffice").encode("latin-1")),
    "payload-surrogate": _raw(claims=BODY.replace("alice", "\\ud800")),
    "payload-surrogate-elsewhere": _raw(claims=BODY[:-1] + ', "x": ["\\udfff"]}'),
    "payload-surrogate-name": _raw(claims=BODY[:-1] + ', "\\udfff": 1}'),
    "payload-duplicate": _raw(claims=BODY[:-1] + ', "sub": "admin"}'),
    "payload-inner-duplicate": _raw(claims=BODY[:-1] + ', "x": {"a": 1, "a": 2}}'),
    "payload-list": _raw(claims=f"[{BODY}]"),
    "payload-text": _raw(claims='"alice"'),
    "payload-null": _raw(claims="null"),
    "payload-nothing": _raw(claims=b" "),
    "payload-nan": _raw(claims=BODY[:-1] + ', "x": NaN}'),
    "payload-infinity": _raw(claims=BODY[:-1] + ', "x": -Infinity}'),
    "payload-deep": _raw(claims=BODY[:-1] + ', "x": ' + "[" * 17 + "]" * 17 + "}"),
    "payload-very-deep": _raw(claims=BODY[:-1] + ', "x": ' + '{"a":' * 2000 + "1" + "}" * 2000 + "}"),
}


@pytest.mark.parametrize("token", SHAPES.values(), ids=SHAPES)
def test_a_malformed_token_is_refused(token):
    assert refused(token) is BAD


def test_stray_bits_in_the_last_letter_make_no_second_token():
    # 256 bytes leave four unused bits in the last letter: fifteen other spellings of one signature.
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = GOOD[:-1] + bytes([alphabet[alphabet.index(GOOD[-1]) ^ 1]])
    assert refused(twin) is BAD


def test_a_hostile_token_is_refused_at_once():
    started = time.perf_counter()
    for token in (SHAPES["million-dots"], SHAPES["jwe"], sign_token(header=HEADERS["pbes2"])):
        refused(token)
    assert time.perf_counter() - started < 0.5


def test_sixteen_levels_of_claims_are_read():
    token = _raw(claims=BODY[:-1] + ', "x": ' + "[" * 15 + "]" * 15 + "}")
    assert verify(token, make_trust(), Kind.ACCESS, time.time()).subject == "alice"


SEGMENT = st.binary(max_size=80).map(b64) | st.just(GOOD.split(b".")[0]) | st.just(GOOD.split(b".")[1])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.lists(SEGMENT, min_size=2, max_size=5).map(b".".join))
def test_no_bytes_do_anything_but_be_refused(token):
    refused(token)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["RS256", "ES256"]), st.binary(max_size=600))
def test_no_signature_bytes_do_anything_but_be_refused(algorithm, signature):
    trust = make_trust(algorithm=algorithm)
    signing_input = sign_token(signer=trust.token_signer).rpartition(b".")[0]
    refused(signing_input + b"." + b64(signature), trust=trust)
