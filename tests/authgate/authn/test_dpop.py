"""Which proofs count (RFC 9449 4.3): a good one, and everything that could be wrong with it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from authgate.authn.dpop import MAX_PROOF_BYTES, bound_key, verify_proof
from authgate.authn.jwk import thumbprint_of
from authgate.reason import Reason
from authgate.request import InvalidCredential, RequestFacts
from authgate.wire.authority import parse_authority
from authgate.wire.headers import Headers
from tests.support.dpop import Holder, b64, private_jwk, public_jwk
from tests.support.hostile import SigningKey, broken, signing_key, unsigned

TOKEN, OTHER_TOKEN = "an.access.token", "another.access.token"
URL = "https://api.example.com/orders/7"
HOLDER, THIEF = Holder(), Holder(kid="thief")
NOW = int(time.time())


def facts(url: str = URL, method: str = "GET", *, as_sent: bool = False) -> RequestFacts:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    authority = parse_authority(host.encode())
    return RequestFacts(method, scheme, authority, slash + path, b"?a=b", "", "", Headers(), as_sent=as_sent)


def accepted(
    proof: str | bytes, of: RequestFacts | None = None, *, thumbprint: str = HOLDER.thumbprint, now: float = NOW
) -> bool:
    raw = proof.encode() if isinstance(proof, str) else proof
    try:
        verify_proof(raw, TOKEN.encode(), thumbprint, of or facts(), now)
    except InvalidCredential as refused:
        assert refused.reason is Reason.BAD_PROOF
        return False
    return True


def made(holder: Holder = HOLDER, *, url: str = URL, **changes: Any) -> str:
    return holder.proof("GET", url, TOKEN, **{"iat": NOW, **changes})


@pytest.mark.parametrize(
    ("algorithm", "bits"),
    [(name, 2048) for name in ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS512", "PS256", "PS512")]
    + [("RS256", 4096)],
)
def test_a_good_proof(algorithm: str, bits: int) -> None:
    holder = Holder(algorithm, bits=bits)
    assert accepted(made(holder), thumbprint=holder.thumbprint)


def test_what_a_proof_is_used_by_is_its_id_and_its_key() -> None:
    def use(holder: Holder, proof_id: str) -> str:
        proof = made(holder, jti=proof_id).encode()
        return verify_proof(proof, TOKEN.encode(), holder.thumbprint, facts(), NOW).use

    assert use(HOLDER, "a") == use(HOLDER, "a")
    assert len({use(HOLDER, "a"), use(HOLDER, "b"), use(THIEF, "a")}) == 3


def test_the_nonce_of_a_proof() -> None:
    for nonce, changes in (("", {}), ("n-1", {"nonce": "n-1"})):
        assert verify_proof(made(**changes).encode(), TOKEN.encode(), HOLDER.thumbprint, facts(), NOW).nonce == nonce


CLAIMS = [
    ("another method", {"htm": "POST"}),
    ("method in lower case", {"htm": "get"}),
    ("no method", {"htm": ...}),
    ("method is a list", {"htm": ["GET"]}),
    ("another path", {"htu": "https://api.example.com/orders/8"}),
    ("a path above", {"htu": "https://api.example.com/orders"}),
    ("a path below", {"htu": f"{URL}/items"}),
    ("a slash more", {"htu": f"{URL}/"}),
    ("path in another case", {"htu": "https://api.example.com/Orders/7"}),
    ("dot segments", {"htu": "https://api.example.com/x/../orders/7"}),
    ("an encoded slash", {"htu": "https://api.example.com/orders%2F7"}),
    ("two slashes", {"htu": "https://api.example.com//orders/7"}),
    ("a path outside ASCII", {"htu": "https://api.example.com/orders/7\u00e9"}),
    ("another host", {"htu": "https://evil.example.com/orders/7"}),
    ("the host as a user name", {"htu": "https://api.example.com@evil.example.com/orders/7"}),
    ("a user name", {"htu": "https://api@api.example.com/orders/7"}),
    ("a host outside ASCII", {"htu": "https://\uff41pi.example.com/orders/7"}),
    ("half a surrogate", {"htu": "https://\ud800/orders/7"}),
    ("another scheme", {"htu": "http://api.example.com/orders/7"}),
    ("the port of another scheme", {"htu": "https://api.example.com:80/orders/7"}),
    ("another port", {"htu": "https://api.example.com:8443/orders/7"}),
    ("a port that is none", {"htu": "https://api.example.com:99999/orders/7"}),
    ("the path alone", {"htu": "/orders/7"}),
    ("a space in front", {"htu": f" {URL}"}),
    ("a line end behind", {"htu": f"{URL}\n"}),
    ("no URI", {"htu": ...}),
    ("URI is a list", {"htu": [URL]}),
    ("another token's hash", {"ath": b64(b"x" * 32)}),
    ("hash in hexadecimal digits", {"ath": "0" * 64}),
    ("no hash", {"ath": ...}),
    ("hash is null", {"ath": None}),
    ("a minute and a second old", {"iat": NOW - 61}),
    ("a minute and a second ahead", {"iat": NOW + 61}),
    ("no time", {"iat": ...}),
    ("time as text", {"iat": str(NOW)}),
    ("time is true", {"iat": True}),
    ("time is null", {"iat": None}),
    ("time is negative", {"iat": -NOW}),
    ("time 1e300", {"iat": 1e300}),
    ("time 10^400", {"iat": 10**400}),
    ("time -10^400", {"iat": -(10**400)}),
    ("time is not a number", {"iat": float("nan")}),
    ("no ID", {"jti": ...}),
    ("an empty ID", {"jti": ""}),
    ("ID is a number", {"jti": 7}),
    ("nonce is a number", {"nonce": 7}),
]


@pytest.mark.parametrize("changes", [case[1] for case in CLAIMS], ids=[case[0] for case in CLAIMS])
def test_claims(changes: dict[str, Any]) -> None:
    assert accepted(made())
    assert not accepted(made(**changes))


SAME = [
    ("the scheme in upper case", URL, "HTTPS://api.example.com/orders/7"),
    ("the host in upper case", URL, "https://API.Example.COM/orders/7"),
    ("a dot behind the host", URL, "https://api.example.com./orders/7"),
    ("the default port", URL, "https://api.example.com:443/orders/7"),
    ("an empty port", URL, "https://api.example.com:/orders/7"),
    ("the default port in the request", "https://api.example.com:443/orders/7", URL),
    ("another port", "http://localhost:8000/a", "http://localhost:8000/a"),
    ("an IPv6 address", "http://[::1]:8000/a", "http://[0:0::1]:8000/a"),
    ("no path", "https://api.example.com/", "https://api.example.com"),
    ("no path, and a query", "https://api.example.com/", "https://api.example.com?a=b"),
    ("no path, and a fragment", "https://api.example.com/", "https://api.example.com#part"),
    ("a query", URL, f"{URL}?a=b"),
    ("an empty query", URL, f"{URL}?"),
    ("a fragment", URL, f"{URL}#part"),
    ("escapes that are not needed", URL, "https://api.example.com/%6Frders/7"),
    ("escapes in lower case", "https://api.example.com/caf%C3%A9", "https://api.example.com/caf%c3%a9"),
]


@pytest.mark.parametrize(("requested", "proven"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_spellings_of_one_uri(requested: str, proven: str) -> None:
    assert accepted(made(url=proven), facts(requested))


def test_a_path_that_is_taken_as_sent_is_compared_to_the_letter() -> None:
    of = facts("https://api.example.com/files/a%2Fb//c", as_sent=True)
    assert accepted(made(url="https://api.example.com/files/a%2Fb//c"), of)
    assert not accepted(made(url="https://api.example.com/files/a%2fb//c"), of)
    assert not accepted(made(url="https://api.example.com/files/a/b/c"), of)


@pytest.mark.parametrize("seconds", [-60, -59.5, 0, 59.5, 60])
def test_time_within_a_minute(seconds: float) -> None:
    assert accepted(made(iat=NOW + seconds))


def test_a_proof_is_refused_from_the_moment_that_its_use_may_be_forgotten() -> None:
    for issued_at in (NOW - 30, NOW + 0.5, NOW + 60):
        proof = made(iat=issued_at).encode()
        end = verify_proof(proof, TOKEN.encode(), HOLDER.thumbprint, facts(), NOW).expires_at
        assert accepted(proof, now=end - 0.01)
        assert not accepted(proof, now=end + 0.01)


def mangled(**members: Any) -> dict[str, Any]:
    return public_jwk(HOLDER.key) | members


HEADERS = [
    ("typ JWT", {"typ": "JWT"}),
    ("typ of an access token", {"typ": "at+jwt"}),
    ("typ with its full name", {"typ": "application/dpop+jwt"}),
    ("no typ", {"typ": ...}),
    ("another curve's algorithm", {"alg": "ES384"}),
    ("RS256", {"alg": "RS256"}),
    ("HS256", {"alg": "HS256"}),
    ("none", {"alg": "none"}),
    ("no algorithm", {"alg": ...}),
    ("algorithm is a list", {"alg": ["ES256"]}),
    ("a critical extension", {"crit": ["b64"], "b64": True}),
    ("a payload that is not encoded", {"b64": False}),
    ("compressed", {"zip": "DEF"}),
    ("no key", {"jwk": ...}),
    ("key is text", {"jwk": json.dumps(public_jwk(HOLDER.key))}),
    ("key is null", {"jwk": None}),
    ("key is empty", {"jwk": {}}),
    ("a private key", {"jwk": private_jwk(HOLDER.key)}),
    ("an empty private part", {"jwk": mangled(d="")}),
    ("a secret beside", {"jwk": mangled(k="AAAA")}),
    ("for encryption", {"jwk": mangled(use="enc")}),
    ("not for verifying", {"jwk": mangled(key_ops=["encrypt"])}),
    ("for another algorithm", {"jwk": mangled(alg="ES512")}),
    ("a coordinate as a number", {"jwk": mangled(x=7)}),
    ("no coordinate", {"jwk": {"kty": "EC", "crv": "P-256", "x": public_jwk(HOLDER.key)["x"]}}),
    ("kty in lower case", {"jwk": mangled(kty="ec")}),
    ("kty is a list", {"jwk": mangled(kty=["EC"])}),
    ("curve of another kind", {"jwk": mangled(crv="Ed25519")}),
    ("a symmetric key", {"jwk": {"kty": "oct", "k": b64(b"secret")}, "alg": "HS256"}),
    ("a set of keys", {"jwk": {"keys": [public_jwk(HOLDER.key)]}}),
]


@pytest.mark.parametrize("changes", [case[1] for case in HEADERS], ids=[case[0] for case in HEADERS])
def test_headers(changes: dict[str, Any]) -> None:
    assert not accepted(made(header=changes))


@pytest.mark.parametrize("changes", [{"typ": "JWT"}, {"alg": "HS256"}, {"alg": "none"}, {"jwk": None}, {"zip": "DEF"}])
def test_the_rule_for_a_header_that_is_not_a_proofs(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidCredential) as refused:
        verify_proof(made(header=changes).encode(), TOKEN.encode(), HOLDER.thumbprint, facts(), NOW)
    assert refused.value.rule == "its header must have typ dpop+jwt, alg and jwk, and no extension"


def test_names_of_a_key_that_do_not_matter_may_stand_in_it() -> None:
    assert accepted(made(header={"jwk": mangled(kid="1", use="sig", alg="ES256", key_ops=["verify"]), "kid": "1"}))


def test_only_the_tokens_own_key_proves_anything() -> None:
    assert not accepted(made(THIEF))
    assert not accepted(made(THIEF, header={"jwk": public_jwk(HOLDER.key)}))
    assert not accepted(made(HOLDER, header={"jwk": public_jwk(THIEF.key)}))
    assert not accepted(made(signer=THIEF.key))
    assert not accepted(broken(made()))
    assert not accepted(unsigned(made()))
    assert not accepted(f"{unsigned(made())}AAAA")


def test_a_short_rsa_key() -> None:
    holder = Holder("RS256", bits=1024)
    assert not accepted(made(holder), thumbprint=holder.thumbprint)


def test_an_rsa_key_that_costs_too_much() -> None:
    long = Holder("RS256", bits=4104)
    assert not accepted(made(long), thumbprint=long.thumbprint)


@pytest.mark.parametrize(("exponent", "taken"), [(2**32 - 5, True), (2**32 + 15, False)])
def test_an_exponent_has_32_bits(exponent: int, taken: bool) -> None:
    p, q = (holder_prime(name) for name in ("p", "q"))
    secret = pow(exponent, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, secret, secret % (p - 1), secret % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(exponent, p * q)
    )
    slow = Holder("RS256")
    slow.key = SigningKey("RS256", "slow", numbers.private_key())
    assert accepted(made(slow), thumbprint=slow.thumbprint) is taken


def holder_prime(name: str) -> int:
    return int(getattr(signing_key("RS256").private.private_numbers(), name))


def test_a_point_that_is_not_on_the_curve() -> None:
    off = {"kty": "EC", "crv": "P-256", "x": b64(b"\1" * 32), "y": b64(b"\2" * 32)}
    assert not accepted(made(header={"jwk": off}), thumbprint=thumbprint_of(off))


def test_the_thumbprint_of_rfc_7638() -> None:
    """Its example, 3.1."""
    jwk = {
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }  # fmt: skip
    assert thumbprint_of(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


NO_JWS = {
    "empty": b"",
    "a dot": b".",
    "three letters": b"a.b.c",
    "bytes": b"\xff" * 100,
    "a megabyte of dots": b"." * 1_000_000,
    "a megabyte of letters": b"a" * 1_000_000,
    "a megabyte of segments": b"a." * 500_000,
    "a space behind": made().encode() + b" ",
    "padding": made().encode() + b"=",
    "a space in front": b" " + made().encode(),
    "two in one header": made().encode() + b"," + made().encode(),
}


@pytest.mark.parametrize("proof", NO_JWS.values(), ids=NO_JWS)
def test_what_is_no_jws(proof: bytes) -> None:
    begin = time.perf_counter()
    assert not accepted(proof)
    assert time.perf_counter() - begin < 1


def test_the_size_of_a_proof_is_bounded() -> None:
    assert accepted(made(padding="x" * 4000))
    large = made(padding="x" * MAX_PROOF_BYTES)
    assert len(large) > MAX_PROOF_BYTES
    assert not accepted(large)


def spelt(header: str, claims: str) -> str:
    """A good proof, but for what stands at the end of its header and its claims."""
    good_header, good_claims = (base64.urlsafe_b64decode(part + "==")[:-1] for part in made().split(".")[:2])
    signing_input = f"{b64(good_header + header.encode())}.{b64(good_claims + claims.encode('latin-1'))}"
    return f"{signing_input}.{b64(HOLDER.key.sign(signing_input.encode()))}"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        (', "alg": "ES256"}', "}"),
        ("}", ', "jti": "other"}'),
        ("}", f', "a": {"[" * 40}{"]" * 40}}}'),
        ("}", ', "a": "\xff"}'),
        ("}", ', "a": NaN}'),
        ("}", "} "),
        ("}", "}{}"),
        ("", "}"),
    ],
    ids=[
        "a member twice",
        "a claim twice",
        "deep",
        "not UTF-8",
        "not a number",
        "trailing space",
        "two objects",
        "no end",
    ],
)
def test_json_is_read_strictly(header: str, claims: str) -> None:
    assert accepted(spelt("}", "}"))
    assert accepted(spelt("}", ', "a": [{}]}'))
    assert accepted(spelt(header, claims)) is (claims == "} ")


@pytest.mark.parametrize(
    "cnf",
    [
        None, "text", [], {}, {"jkt": None}, {"jkt": ""}, {"jkt": "short"}, {"jkt": "A" * 44}, {"jkt": "A" * 42 + "="},
        {"jkt": ["A" * 43]}, {"x5t#S256": "A" * 43}, {"jwk": {}}, {"jkt": "A" * 43, "x5t#S256": "A" * 43},
        {"JKT": "A" * 43},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_bound_in_a_way_that_nobody_can_check_is_refused(cnf: Any) -> None:
    with pytest.raises(InvalidCredential) as refused:
        bound_key({"cnf": cnf})
    assert refused.value.reason is Reason.INVALID_TOKEN


def test_the_key_that_a_token_is_bound_to() -> None:
    assert bound_key({}) == ""
    assert bound_key({"cnf": HOLDER.cnf}) == HOLDER.thumbprint
