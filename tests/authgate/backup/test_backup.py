"""`backup` and `restore`, beside gateways that run, on both databases."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from tests.support.gateway import Gateway, environment, manage
from tests.support.policies import demo_policy
from tests.support.processes import MANAGE
from tests.support.sessions import Made, make_session, run
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request, gateway_template, session_upstream, tmp_path_factory):
    env = {}
    if request.param == "postgresql":
        env["AUTHGATE_DATABASE_URL"] = request.getfixturevalue("postgres").create_database()
    data = tmp_path_factory.mktemp("backup") / "data"
    template = gateway_template if request.param == "sqlite" else None
    with Gateway(data, template=template, policy=demo_policy(session_upstream.target), workers=2, env=env) as started:
        yield started.start()


def status(site: Gateway, credential: str | Made, path: str = "/api/protected") -> int:
    """Of every worker: of many connections, each of two workers takes some."""
    kept = {"headers": credential.headers} if isinstance(credential, Made) else {"token": credential}
    found = {site.get(path, **kept).status for _ in range(8)}
    assert len(found) == 1, found
    return found.pop()


def service_token(site: Gateway, name: str) -> str:
    return site.manage("service_token", "create", name, "--quiet").strip()


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Without the time when a token was last used, which workers write a moment later."""
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file][1:-1]
    for row in rows:
        row["fields"].pop("last_used_at", None)
    return rows


def jti_of(site: Gateway, token: str) -> str:
    code = "import jwt; print(jwt.decode(options['token'], options={'verify_signature': False})['jti'])"
    return run(site, code, token=token).strip()


def test_what_was_taken_away_since_the_backup_stays_refused(site, tmp_path):
    token, revoked = site.mint("bob", fresh=True), site.mint("bob", fresh=True)
    service, ended = service_token(site, "kept"), service_token(site, "ended")
    signed_in, signed_out = make_session(site, "carol"), make_session(site, "dave")
    site.manage("backup", str(tmp_path / "b"))
    later = make_session(site, "erin")
    before = [status(site, each) for each in (token, revoked, service, ended, signed_in, signed_out, later)]
    assert before == [200] * 7

    site.manage("revoke", "--jti", jti_of(site, revoked))
    site.manage("service_token", "revoke", "ended")
    run(site, "store.end(options['sid'], 'signed out')", sid=signed_out.sid)
    run(site, "Person.objects.filter(provider_subject='carol').update(is_active=False)")
    said = site.manage("restore", str(tmp_path / "b"))

    after = [status(site, each) for each in (token, revoked, service, ended, signed_in, signed_out, later)]
    assert after == [200, 401, 200, 401, 401, 401, 401]
    assert "1 service token.\n" in said and "1 person.\n" in said, said
    active = """
known = Person.objects.filter(is_active=True, provider_subject__in=("carol", "dave", "erin"))
print(json.dumps(list(known.values_list("provider_subject", flat=True))))
"""
    assert json.loads(run(site, active)) == ["dave"]  # erin was not known yet
    service_token(site, "next")  # no key of a row is given out twice


def test_what_is_revoked_while_it_restores_stays_refused(site, tmp_path):
    """On PostgreSQL the command waits; on SQLite nothing keeps it from what is about to be replaced."""
    token, other = site.mint("late", fresh=True), site.mint("late", fresh=True)
    jti = jti_of(site, token)
    site.manage("backup", str(tmp_path / "b"))
    with subprocess.Popen([sys.executable, MANAGE, "restore", "--yes", str(tmp_path / "b")], env=site.env) as restoring:
        try:
            assert wait_until(lambda: is_filling(site), 30)
            restoring.send_signal(signal.SIGSTOP)
            with subprocess.Popen([sys.executable, MANAGE, "revoke", "--jti", jti], env=site.env) as revoking:
                with suppress(subprocess.TimeoutExpired):
                    revoking.wait(5)
                restoring.send_signal(signal.SIGCONT)
        finally:
            restoring.send_signal(signal.SIGCONT)
    assert (restoring.returncode, revoking.returncode) == (0, 0)
    assert [status(site, each) for each in (token, other)] == [401, 200]
    assert run(site, "print(RevokedToken.objects.filter(jti=options['jti']).exists())", jti=jti) == "True\n"


def is_filling(site: Gateway) -> bool:
    url = site.env.get("AUTHGATE_DATABASE_URL")
    if url is None:
        return any(re.fullmatch(r"authgate\.sqlite3\.[0-9a-f]{16}", path.name) for path in site.data_dir.iterdir())
    with psycopg.connect(url) as connection:
        locked = "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'"
        return connection.execute(locked).fetchone() != (0,)


def test_what_counted_once_or_was_minted_since_is_known(site, tmp_path):
    """And a personal token may do no more than its person was said to be last."""
    make_session(site, "grace")
    claims = "Person.objects.filter(provider_subject='grace').update(claims={'groups': options['groups']})"
    token = """
from authgate.models.service_tokens import ServiceToken
person = Person.objects.get(provider_subject='grace')
ServiceToken.objects.create(name='own', person=person, digest='0' * 64, expires_at=ago(-3600))
"""
    run(site, claims + token, groups=["admins"])
    site.manage("backup", str(tmp_path / "b"))
    run(site, claims, groups=[])
    run(
        site, "from authgate.models.people import UsedOnce; UsedOnce.objects.create(key='state x', expires_at=ago(-60))"
    )
    minted = jti_of(site, site.mint("heidi", fresh=True))
    site.manage("restore", str(tmp_path / "b"))
    found = """
from authgate.models.people import UsedOnce
from authgate.models.trust import MintedToken
print(json.dumps([
    Person.objects.get(provider_subject='grace').claims, UsedOnce.objects.filter(key='state x').exists(),
    MintedToken.objects.filter(jti=options['jti']).exists(),
]))
"""
    assert json.loads(run(site, found, jti=minted)) == [{"groups": []}, True, True]


def test_the_policy_of_the_backup_is_live_with_the_answer(site, session_upstream, tmp_path):
    token = site.mint("polly")
    site.manage("backup", str(tmp_path / "b"))
    revision = run(site, "from authgate.policy import revisions; print(revisions.live_document().routes[0].name)")
    closed = "version: 1\nroutes: []\n"
    site.manage("policy", "import", "-", "--allow-empty", stdin=closed)
    assert status(site, token) == 404
    site.manage("restore", str(tmp_path / "b"))
    assert status(site, token) == 200
    assert revision == run(
        site, "from authgate.policy import revisions; print(revisions.live_document().routes[0].name)"
    )


def test_the_same_rows_are_there_again(site, tmp_path):
    service_token(site, "again")
    site.manage("backup", str(tmp_path / "first"))
    site.manage("restore", str(tmp_path / "first"))
    site.manage("backup", str(tmp_path / "second"))
    changing = ("authgate.stateversion", "authgate.revokedtoken")
    first, second = (
        [row for row in rows_of(tmp_path / name) if row["model"] not in changing] for name in ("first", "second")
    )
    assert first == second and len(first) > 5


def test_a_backup_is_of_one_moment_and_nobody_waits_for_it(site):
    """Its pipe is full, since nobody reads it yet; meanwhile somebody else writes."""
    rows = "[RevokedToken(jti=secrets.token_hex(90), expires_at=now) for _ in range(3000)]"
    run(site, f"import secrets; RevokedToken.objects.bulk_create({rows})")
    with subprocess.Popen([sys.executable, MANAGE, "backup", "-"], env=site.env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        begun = process.stdout.read(1)
        run(site, "RevokedToken.objects.create(jti='written-meanwhile', expires_at=now)")
        content = begun + process.stdout.read()
    assert process.returncode == 0
    text = gzip.decompress(content).decode()
    assert text.count("revokedtoken") >= 3000 and "written-meanwhile" not in text


def test_a_file_is_for_its_user_alone(site, tmp_path):
    (tmp_path / "b").write_text("")
    (tmp_path / "b").chmod(0o644)
    said = site.run("backup", str(tmp_path / "b"))
    assert ((tmp_path / "b").stat().st_mode & 0o777, said.returncode) == (0o600, 0)
    assert "the secret key" in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


# --- the database is lost ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lost(gateway_template, session_upstream, tmp_path_factory):
    """A backup of a gateway, its secret key, and what it gave out."""
    directory = tmp_path_factory.mktemp("lost")
    with Gateway(directory / "data", template=gateway_template, policy=demo_policy(session_upstream.target)) as gateway:
        gateway.start()
        given = [gateway.mint("bob"), service_token(gateway, "ci"), make_session(gateway)]
        gateway.manage("backup", str(directory / "b"))
        yield directory, given, gateway.env["AUTHGATE_PUBLIC_URL"]


def emptied(gateway: Gateway, lost) -> Path:
    """The data directory of a new machine: only the secret key was put back."""
    directory, _, _ = lost
    shutil.rmtree(gateway.data_dir)
    gateway.data_dir.mkdir(mode=0o700)
    shutil.copy(directory / "data" / "secret_key", gateway.data_dir)
    return directory / "b"


@pytest.mark.parametrize(
    ("option", "found"), [((), [401, 401, 401]), (("--keep-tokens",), [200, 200, 200])], ids=["unsure", "kept"]
)
def test_on_a_new_machine_nothing_is_taken_of_which_nobody_knows(lost, gateway_template, tmp_path, option, found):
    with Gateway(tmp_path / "data", template=gateway_template, env={"AUTHGATE_PUBLIC_URL": lost[2]}) as gateway:
        gateway.manage("restore", str(emptied(gateway, lost)), *option)
        gateway.start()
        assert [status(gateway, given) for given in lost[1]] == found
        assert status(gateway, gateway.mint("bob", fresh=True)) == 200  # by the new key


def test_a_backup_moves_to_another_database(lost, postgres, tmp_path):
    env = {"AUTHGATE_DATABASE_URL": postgres.create_database(), "AUTHGATE_PUBLIC_URL": lost[2]}
    with Gateway(tmp_path / "data", env=env) as gateway:
        shutil.copy(lost[0] / "data" / "secret_key", gateway.data_dir)
        with psycopg.connect(env["AUTHGATE_DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE another_service (name text)")
        gateway.manage("restore", str(lost[0] / "b"), "--keep-tokens")
        with psycopg.connect(env["AUTHGATE_DATABASE_URL"]) as connection:
            connection.execute("SELECT * FROM another_service")
        gateway.start()
        assert status(gateway, lost[1][1]) == 200
        service_token(gateway, "next")


def test_a_damaged_database_is_put_aside(lost, gateway_template, tmp_path):
    with Gateway(tmp_path / "data", template=gateway_template, env={"AUTHGATE_PUBLIC_URL": lost[2]}) as gateway:
        backup = emptied(gateway, lost)
        (gateway.data_dir / "authgate.sqlite3").write_bytes(b"no database" * 1000)
        gateway.manage("restore", str(backup), "--keep-tokens")
        gateway.start()
        assert status(gateway, lost[1][1]) == 200
        assert (gateway.data_dir / "authgate.sqlite3.damaged").read_bytes().startswith(b"no database")


def test_a_backup_of_an_earlier_version_is_migrated(tmp_path):
    """As 0008 had it: no service tokens, and no choice of redirect URIs."""
    env = environment(tmp_path / "data")
    assert manage(env, "migrate", "-v0").returncode == 0
    head = {
        "authgate_backup": 1,
        "made_at": "2026-07-01T00:00:00+00:00",
        "migrations": MIGRATIONS | {"authgate": "0008_session_host"},
    }
    provider = {
        "slug": "old", "name": "Old", "kind": "oidc", "issuer": "https://idp.example.com", "client_id": "c",
        "further_audiences": [], "created_at": "2026-07-01T00:00:00Z", "enabled": True,
    }  # fmt: skip
    write(tmp_path / "b", head, [{"model": "authgate.identityprovider", "pk": 7, "fields": provider}], env)
    restored = manage(env, "restore", str(tmp_path / "b"))
    assert restored.returncode == 0, restored.stderr
    listed = manage(env, "provider", "list").stdout
    # Its redirect URIs may be registered for each host: migration 0021 keeps that.
    assert "old" in listed
    assert manage(env, "migrate", "--check").returncode == 0


# --- what cannot be restored ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mended(gateway_template, tmp_path_factory):
    """A gateway that nothing may change, and a backup of it."""
    directory = tmp_path_factory.mktemp("mended")
    with Gateway(directory / "data", template=gateway_template) as gateway:
        service_token(gateway, "there")
        gateway.manage("backup", str(directory / "b"))
        yield gateway, directory / "b"


def shortened(content: bytes) -> bytes:
    return content[: len(content) // 2]


def without_tail(content: bytes) -> bytes:
    return gzip.compress(b"\n".join(gzip.decompress(content).splitlines()[:-1]) + b"\n")


def changed(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content).replace(b'"name": "there"', b'"name": "other"'))


def changed_with_its_digest(content: bytes) -> bytes:
    """By somebody who knows the format, and not the secret key."""
    *lines, tail = gzip.decompress(content).replace(b'"name": "there"', b'"name": "other"').splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    return gzip.compress(b"".join([*lines, msgspec.json.encode({**msgspec.json.decode(tail), "sha256": digest})]))


def without_a_row(content: bytes) -> bytes:
    lines = gzip.decompress(content).splitlines(keepends=True)
    return gzip.compress(b"".join([*lines[:2], *lines[3:]]))


def of_another_format(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content).replace(b'"authgate_backup":1', b'"authgate_backup":2'))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shortened, "is not complete"),
        (without_tail, "is not complete"),
        (changed, "was damaged or changed"),
        (changed_with_its_digest, "belongs to another AUTHGATE_SECRET_KEY, or was changed"),
        (without_a_row, "was damaged or changed"),
        (of_another_format, "has format 2, and this version reads 1"),
        (lambda content: gzip.decompress(content), "is damaged, or no backup"),
        (lambda content: content + content, "is damaged"),
        (lambda content: b"", "is not a backup"),
        (lambda content: gzip.compress(b"{}\n"), "is not a backup"),
    ],
    ids=["shortened", "tail", "changed", "digest", "row", "format", "plain", "twice", "empty", "other"],
)
def test_an_unusable_file_changes_nothing(mended, tmp_path, damage, said):
    gateway, backup = mended
    (tmp_path / "b").write_bytes(damage(backup.read_bytes()))
    assert_refused(gateway, tmp_path / "b", said)


def assert_refused(gateway: Gateway, backup: Path, said: str) -> None:
    before = {path.name: path.read_bytes() for path in gateway.data_dir.iterdir() if path.name != "generation"}
    refused = gateway.run("restore", str(backup))
    assert (refused.returncode, said in refused.stderr, "nothing was changed" in refused.stderr) == (1, True, True), (
        refused.stderr
    )
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert {path.name: path.read_bytes() for path in gateway.data_dir.iterdir() if path.name != "generation"} == before


def test_a_backup_is_also_taken_from_standard_input(gateway_template, tmp_path):
    with Gateway(tmp_path / "data", template=gateway_template) as gateway:
        service_token(gateway, "there")
        gateway.manage("backup", str(tmp_path / "b"))
        assert restore_input(gateway, (tmp_path / "b").read_bytes()).returncode == 0
        assert "there" in gateway.manage("service_token", "list")


def test_what_comes_by_standard_input_may_be_unusable_too(mended):
    gateway, backup = mended
    refused = restore_input(gateway, shortened(backup.read_bytes()))
    assert refused.stderr == b"CommandError: standard input is not complete: its end is missing; nothing was changed\n"


def test_a_gateway_that_runs_with_another_secret_key_does_not_seal_the_new_keys(mended, tmp_path):
    other, backup = mended
    with Gateway(tmp_path / "data") as gateway:
        gateway.start()
        (gateway.data_dir / "secret_key").write_bytes((other.data_dir / "secret_key").read_bytes())
        gateway.manage("restore", str(backup))
        deadline = time.monotonic() + 20
        while gateway.get("/health/ready").status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)  # in which it could make one
        gateway.manage("mint_token", "bob")


def restore_input(gateway: Gateway, content: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, MANAGE, "restore", "-"]
    return subprocess.run(command, input=content, capture_output=True, env=gateway.env, timeout=120, check=False)


def test_a_file_that_is_not_there(mended, tmp_path):
    assert_refused(mended[0], tmp_path / "nothing", "cannot be read: No such file or directory")


def test_a_row_that_does_not_fit_changes_nothing(mended, tmp_path):
    head = {"authgate_backup": 1, "made_at": "2026-07-01T00:00:00+00:00", "migrations": MIGRATIONS}
    fields = {"provider": 99, "provider_subject": "x", "created_at": "2026-07-01T00:00:00Z"}
    write(tmp_path / "b", head, [{"model": "authgate.person", "pk": 1, "fields": fields}], mended[0].env)
    assert_refused(mended[0], tmp_path / "b", "refers to rows that it lacks")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"model": "authgate.person", "pk": 1, "fields": {"surprise": 1}}, "does not fit its own schema"),
        ({"model": "authgate.session", "pk": "s", "fields": {}}, "a backup has no rows of 'authgate.session'"),
        ({"model": "nobody.knows", "pk": 1, "fields": {}}, "unknown model 'nobody.knows'"),
    ],
    ids=["field", "left-out", "model"],
)
def test_a_row_of_nothing_known_changes_nothing(mended, tmp_path, row, said):
    head = {"authgate_backup": 1, "made_at": "2026-07-01T00:00:00+00:00", "migrations": MIGRATIONS}
    write(tmp_path / "b", head, [row], mended[0].env)
    assert_refused(mended[0], tmp_path / "b", said)


def test_a_backup_of_a_newer_version(mended, tmp_path):
    newer = MIGRATIONS | {"authgate": "9999_later"}
    write(
        tmp_path / "b",
        {"authgate_backup": 1, "made_at": "2027-07-01T00:00:00+00:00", "migrations": newer},
        [],
        mended[0].env,
    )
    assert_refused(
        mended[0], tmp_path / "b", "made by a newer version of the gateway, with the migration authgate.9999"
    )


def test_the_secret_key_of_another_gateway_changes_nothing(mended, gateway_template, tmp_path):
    env = {"AUTHGATE_SECRET_KEY": "x" * 50}
    with Gateway(tmp_path / "data", env=env) as other:
        assert_refused(other, mended[1], "belongs to another AUTHGATE_SECRET_KEY")


def test_a_directory_that_cannot_be_written(mended, tmp_path):
    refused = mended[0].run("backup", str(tmp_path / "nowhere" / "b"))
    assert (refused.returncode, "cannot be written: No such file or directory" in refused.stderr) == (1, True)


MIGRATIONS = {
    "admin": "0003_logentry_add_action_flag_choices",
    "auth": "0012_alter_user_first_name_max_length",
    "contenttypes": "0002_remove_content_type_name",
    "sessions": "0001_initial",
    "authgate": "0021_hand_over",
}


def write(path: Path, head: dict[str, object], rows: list[dict[str, object]], env: Mapping[str, str]) -> None:
    """As the gateway of this environment would have."""
    content = b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *rows))
    digest = hashlib.sha256(content).hexdigest()
    sealing = f"from authgate.sealing import seal_text; print(seal_text('{digest}', purpose='backup'))"
    seal = manage(env, "shell", "-v0", "-c", sealing).stdout.strip()
    tail = {"rows": len(rows), "sha256": digest, "seal": seal}
    path.write_bytes(gzip.compress(content + msgspec.json.encode(tail) + b"\n"))
