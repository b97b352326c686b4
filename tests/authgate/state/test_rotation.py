"""Keys that come and go while the gateway serves: nobody is refused who should not be."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import timedelta

import jwt
import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from authgate.models.people import IdentityProvider, Person
from authgate.models.trust import MintedToken, SigningKey
from authgate.policy.powers import Machine
from authgate.sessions import purge
from authgate.state import minting, signing_keys
from authgate.state.signing_keys import Algorithm, Purpose
from authgate.state.trust import load_trust
from tests.support import raw
from tests.support.crowd import Crowd
from tests.support.operators import make_session as make_row
from tests.support.sessions import make_session, run
from tests.support.streams import wait_until

ACTOR = Machine("test")
SECRET, NEW_SECRET = "the secret key of the first year …", "the secret key of the second year …"


def header_of(token):
    return jwt.get_unverified_header(token)


def published(gateway):
    return {key["kid"] for key in gateway.get("/.well-known/jwks.json").json()["keys"]}


def assertion_of(upstream, gateway, token):
    seen = len(upstream.requests)
    assert gateway.get("/api/protected/x", token=token).status == 200
    headers = {name.lower(): value for name, value in upstream.requests[seen].headers}
    return headers[b"x-auth-assertion"].decode()


# --- a running gateway ---------------------------------------------------------------------------------------


def test_keys_rotate_under_load_without_one_refusal(start_gateway):
    gateway = start_gateway(workers=2)
    first = gateway.mint("alice", fresh=True)
    request = raw.request(
        "GET", "/api/protected", [("Authorization", f"Bearer {first}")], host=f"localhost:{gateway.port}"
    )
    session = make_session(gateway, "sam")
    with Crowd(gateway, request, connections=8) as crowd:
        for _ in range(3):
            gateway.shell.command("keys", "rotate", "--now")
            token = gateway.mint("bob", fresh=True)
            assert {gateway.get("/api/protected", token=token).status for _ in range(8)} == {200}
            assert gateway.get("/api/protected", headers=session.headers).status == 200
            gateway.shell.command("keys", "rotate")  # the next one, published before it signs
        crowd.wait_for(request, 200, times=4)
    assert {asked.status for asked in crowd.asked} == {200}
    assert len(crowd.asked) > 100


def test_the_next_key_is_published_at_once_and_signs_when_its_time_has_come(start_gateway, upstream):
    gateway = start_gateway(workers=2)
    token = gateway.mint("alice", fresh=True)
    before = published(gateway)
    run(gateway, """
from authgate.policy.powers import Machine
from authgate.state import signing_keys
for purpose in signing_keys.Purpose:
    signing_keys.rotate(purpose, Machine("test"), lead=timedelta(seconds=4))
""")  # fmt: skip
    began = time.monotonic()
    new = published(gateway) - before
    assert len(new) == 2
    old = header_of(assertion_of(upstream, gateway, token))["kid"]
    assert old in before
    assert header_of(gateway.mint("bob", fresh=True))["kid"] in before
    assert time.monotonic() - began < 4

    def signs_anew():
        made = {header_of(assertion_of(upstream, gateway, gateway.mint(f"u{n}", fresh=True)))["kid"] for n in range(3)}
        return made <= new

    assert wait_until(signs_anew, 10)  # no row has changed
    assert header_of(gateway.mint("bob", fresh=True))["kid"] in new
    assert gateway.get("/api/protected", token=token).status == 200


def test_commands_list_rotate_and_retire(start_gateway):
    gateway = start_gateway()
    token = gateway.mint("alice", ttl=600, fresh=True)
    kid = header_of(token)["kid"]
    rotated = gateway.manage("keys", "rotate", "--purpose", "tokens")
    again = gateway.run("keys", "rotate", "--purpose", "tokens")
    assert again.returncode == 1
    assert "is published already and signs from" in again.stderr
    [new] = re.findall(r"^(\S{43})  tokens  RS256  signs from \S+Z$", rotated, re.MULTILINE)
    listed = gateway.manage("keys", "list")
    assert re.search(rf"^{new}  tokens  RS256  signs from \S+Z$", listed, re.MULTILINE)
    assert re.search(rf"^{kid}  tokens  RS256  signs$", listed, re.MULTILINE)
    assert re.search(r"^\S{43}  assertions  ES256  signs$", listed, re.MULTILINE)
    gateway.manage("keys", "rotate", "--purpose", "tokens", "--now")
    listed = gateway.manage("keys", "list")
    assert re.search(rf"^{new}  tokens  RS256  signs$", listed, re.MULTILINE)
    assert re.search(rf"^{kid}  tokens  RS256  verifies, until \S+Z at least$", listed, re.MULTILINE)
    assert gateway.get("/api/protected", token=token).status == 200
    assert f"{kid} is retired" in gateway.manage("keys", "retire", kid)
    assert gateway.get("/api/protected", token=token).json()["reason"] == "unknown_key"
    for unknown, said in ((kid, "retired already"), ("nobody", "there is no such key")):
        assert said in gateway.run("keys", "retire", unknown).stderr


def test_minted_tokens_are_listed_until_they_expire(start_gateway):
    gateway = start_gateway()
    quiet = gateway.run("mint_token", "alice", "--role", "admin", "--quiet")
    assert quiet.stderr.startswith("warning") or quiet.stderr == ""
    jti = jwt.decode(quiet.stdout.strip(), options={"verify_signature": False})["jti"]
    listed = gateway.manage("mint_token", "--list")
    [line] = [line for line in listed.splitlines() if line.startswith(jti)]
    assert re.fullmatch(rf"{jti}  alice  admin  until \S+Z  mint_token by \S+", line)
    assert quiet.stdout.strip() not in listed
    gateway.manage("revoke", f"--jti={jti}")
    assert gateway.manage("mint_token", "alice", "--list").strip() == f"{line}  revoked"
    assert gateway.manage("mint_token", "nobody", "--list") == ""
    assert gateway.run("mint_token").returncode == 1


# --- keys in files -------------------------------------------------------------------------------------------


@pytest.fixture
def key_files(tmp_path):
    paths = []
    for name, command in (
        ("first", ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("second", ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        path.chmod(0o600)
        paths.append(path)
    return paths


def test_tokens_are_signed_with_the_first_file_and_verified_with_all(start_gateway, gateway_template, key_files):
    first, second = map(str, key_files)
    gateway = start_gateway(env={"AUTHGATE_SIGNING_KEY_FILE": f"{first}:{second}"})
    token, session = gateway.mint("alice", fresh=True), make_session(gateway, "sam")
    listed = gateway.manage("keys", "list")
    [signs, verifies] = re.findall(r"^(\S{43})  tokens  .S256  (signs|verifies) \(file\)$", listed, re.MULTILINE)
    assert (signs[1], verifies[1]) == ("signs", "verifies")
    assert header_of(token) == {"alg": "RS256", "kid": signs[0], "typ": "at+jwt"}
    assert {signs[0], verifies[0]} <= published(gateway)
    # The next one takes its place: whatever the first has signed stays good.
    gateway.stop()
    gateway.env["AUTHGATE_SIGNING_KEY_FILE"] = f"{second}:{first}"
    gateway.start()
    assert header_of(gateway.mint("bob", fresh=True))["alg"] == "ES256"
    assert gateway.get("/api/protected", token=token).status == 200
    assert gateway.get("/api/protected", headers=session.headers).status == 200
    said = gateway.run("keys", "rotate", "--purpose", "tokens")
    assert said.returncode == 1
    assert "AUTHGATE_SIGNING_KEY_FILE has the keys of tokens" in said.stderr
    assert "take it out of AUTHGATE_SIGNING_KEY_FILE" in gateway.run("keys", "retire", signs[0]).stderr


def test_a_gateway_with_key_files_keeps_no_key_of_tokens_in_its_database(tmp_path, key_files):
    from tests.support.gateway import environment, manage

    env = environment(tmp_path / "data", AUTHGATE_SIGNING_KEY_FILE=str(key_files[0]))
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    assert manage(env, "mint_token", "alice", "--quiet").returncode == 0
    code = "from authgate.models.trust import SigningKey; print(*SigningKey.objects.values_list('purpose', flat=True))"
    assert manage(env, "shell", "--no-imports", "-c", code).stdout.strip() == "assertions"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "AUTHGATE_SIGNING_KEY_FILE: cannot read"),
        (lambda path: path.write_text("no key"), "is no private key in PEM"),
        (lambda path: path.write_bytes(b""), "is no private key in PEM"),
        (
            lambda path: path.write_bytes(
                subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519"], check=True, capture_output=True).stdout
            ),
            "is of a kind that signs nothing here",
        ),
    ],
)
def test_a_file_that_holds_no_key_stops_the_command_with_one_line(tmp_path, key_files, spoil, said):
    from tests.support.gateway import environment, manage

    env = environment(tmp_path / "data", AUTHGATE_SIGNING_KEY_FILE=str(key_files[0]))
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    spoil(key_files[0])
    result = manage(env, "mint_token", "alice")
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (1, 1), result.stderr
    assert said in result.stderr
    assert str(key_files[0]) in result.stderr


# --- the secret key ------------------------------------------------------------------------------------------


def test_the_secret_key_rotates_and_nobody_is_signed_out(start_gateway, tmp_path):
    gateway = start_gateway()
    token, session = gateway.mint("alice", fresh=True), make_session(gateway, "sam", refresh_token="refresh-me")
    kids = published(gateway)
    old = gateway.data_dir / "secret_key"
    fallback = gateway.data_dir / "secret_key.old"
    gateway.stop()
    old.rename(fallback)
    old.write_text(NEW_SECRET.replace("…", "..."))
    old.chmod(0o600)
    # Without the old one nothing opens.
    assert "cannot be unsealed" in gateway.run("mint_token", "bob").stderr
    gateway.env["AUTHGATE_SECRET_KEY_FALLBACK_FILE"] = str(fallback)
    gateway.start()

    def all_is_well():
        assert published(gateway) == kids
        assert gateway.get("/api/protected", token=token).status == 200
        assert gateway.get("/api/protected", headers=session.headers).status == 200
        assert gateway.get("/api/protected", token=gateway.mint("bob", fresh=True)).status == 200

    all_is_well()
    assert "authgate.W075" in gateway.run("check", "--database", "default").stderr
    printed = gateway.manage("keys", "reseal")
    assert "2 signing keys sealed with the secret key of today" in printed
    assert "1 refresh token sealed" in printed
    assert "take it out of the settings" in printed
    all_is_well()
    assert "authgate.W075" not in gateway.run("check", "--database", "default").stderr
    gateway.stop()
    del gateway.env["AUTHGATE_SECRET_KEY_FALLBACK_FILE"]
    fallback.unlink()
    gateway.start()
    all_is_well()
    code = "from authgate.sealing import unseal_text\nsession = Session.objects.get(sid=options['sid'])\n"
    code += "print(unseal_text(session.sealed_refresh_token, purpose='refresh token', place=session.sid))"
    assert run(gateway, code, sid=session.sid).strip() == "refresh-me"


def test_what_no_secret_opens_is_said_and_left_alone(start_gateway):
    gateway = start_gateway()
    make_session(gateway, "sam", sealed_id_token="broken")
    result = gateway.run("keys", "reseal")
    assert result.returncode == 1
    assert "1 ID token: no secret key opens it" in result.stderr


@pytest.mark.django_db
def test_every_sealed_column_is_sealed_anew():
    from django.apps import apps

    from authgate.sessions.reseal import COLUMNS

    there = {
        (model, field.name)
        for model in apps.get_app_config("authgate").get_models()
        for field in model._meta.get_fields()
        if field.name.startswith("sealed_")
    }
    assert there == {(sealed.model, sealed.column) for sealed in COLUMNS}


# --- when a key is not needed any more -----------------------------------------------------------------------


def age(**changes):
    """The key that signs no more, and when it stopped."""
    key = SigningKey.objects.filter(purpose="tokens").order_by("signs_from").first()
    SigningKey.objects.filter(pk=key.pk).update(**changes)
    return key


def is_retired(key):
    purge.purge()
    return SigningKey.objects.get(pk=key.pk).retired_at is not None


@pytest.fixture
def stopped(db):
    load_trust()
    SigningKey.objects.update(signs_from=timezone.now() - timedelta(days=3))
    signing_keys.rotate(Purpose.TOKENS, ACTOR, lead=timedelta())
    purge.purge()  # sees that it has stopped
    return age(stopped_at=timezone.now() - timedelta(hours=2))


def test_a_key_that_signs_no_more_retires_when_nothing_it_signed_is_left(stopped):
    assert is_retired(stopped)
    assert stopped.kid not in load_trust().token_keys


def test_not_while_one_of_its_tokens_lives(stopped):
    SigningKey.objects.filter(pk=stopped.pk).update(last_expires_at=timezone.now() + timedelta(days=1))
    assert not is_retired(stopped)


def test_not_while_a_session_may_come_back_with_its_cookie(stopped):
    provider = IdentityProvider.objects.create(slug="idp", client_id="c", issuer="https://id.example.com")
    session = make_row(Person.objects.create(provider=provider, provider_subject="sam"), "s", {})
    type(session).objects.update(last_seen_at=timezone.now() - timedelta(hours=3), created_at=timezone.now())
    assert not is_retired(stopped)
    type(session).objects.update(last_seen_at=timezone.now())  # with a cookie of the new key
    assert is_retired(stopped)


def test_nor_the_key_that_signs_or_the_one_that_will(db):
    load_trust()
    SigningKey.objects.update(signs_from=timezone.now() - timedelta(days=3))
    signing_keys.rotate(Purpose.TOKENS, ACTOR)
    for _ in range(2):
        purge.purge()
        SigningKey.objects.exclude(stopped_at=None).update(stopped_at=timezone.now() - timedelta(days=1))
    assert SigningKey.objects.filter(retired_at=None).count() == 3


@pytest.mark.django_db
def test_a_key_remembers_the_last_of_its_tokens():
    trust = load_trust()
    for ttl in (600, 60):
        minting.mint_access_token(trust, "alice", ACTOR, ttl=ttl, extra_claims={})
    key = SigningKey.objects.get(kid=trust.token_signer.kid)
    assert key.last_expires_at == max(MintedToken.objects.values_list("expires_at", flat=True))


@pytest.mark.django_db
def test_when_the_signing_key_is_retired_the_next_one_signs_at_once():
    load_trust()
    first = SigningKey.objects.get(purpose="tokens")
    following = signing_keys.rotate(Purpose.TOKENS, ACTOR)
    assert load_trust().token_signer.kid == first.kid
    signing_keys.retire([first], ACTOR)
    assert load_trust().token_signer.kid == following.kid
    following.refresh_from_db()
    assert following.signs_from <= timezone.now()


@pytest.mark.django_db
def test_a_key_that_signs_again_has_not_stopped():
    load_trust()
    first = SigningKey.objects.get(purpose="tokens")
    second = signing_keys.create(Purpose.TOKENS, Algorithm.ES256, ACTOR)
    purge.purge()
    first.refresh_from_db()
    assert first.stopped_at is not None
    signing_keys.retire([second], ACTOR)
    first.refresh_from_db()
    assert first.stopped_at is None
    assert load_trust().token_signer.kid == first.kid


@pytest.mark.django_db
def test_there_is_one_next_key_and_it_may_be_hurried():
    load_trust()
    following = signing_keys.rotate(Purpose.TOKENS, ACTOR)
    with pytest.raises(ValidationError, match="published already"):
        signing_keys.rotate(Purpose.TOKENS, ACTOR)
    assert signing_keys.rotate(Purpose.TOKENS, ACTOR, lead=timedelta()).kid == following.kid
    assert load_trust().token_signer.kid == following.kid
