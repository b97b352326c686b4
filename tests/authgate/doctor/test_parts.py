"""Each part around a real gateway broken in turn: the doctor names it, and says what to do."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from authgate.doctor.certificates import judge_file
from authgate.doctor.public_url import judge_redirect
from authgate.outbound.certificate import valid_until
from authgate.outbound.errors import ProviderError
from tests.support.certificates import make_certificates
from tests.support.clock import Clock
from tests.support.dead_targets import refused_target
from tests.support.doctor import examine, good, wrong
from tests.support.gateway import Gateway
from tests.support.hostile import CLIENT_ID, CLIENT_SECRET, DISCOVERY, TOKEN, HostileProvider, Reply
from tests.support.issuers import TokenMaker
from tests.support.policies import demo_policy
from tests.support.scripted import answer
from tests.support.upstream import RecordingUpstream
from tests.support.valkey import Valkey

YEAR = 365 * 24 * 3600


@pytest.fixture
def gateway(gateway_template, tmp_path, upstream):
    """It does not run: what is examined here is around it."""
    with Gateway(tmp_path / "data", template=gateway_template, policy=demo_policy(upstream.target)) as gateway:
        yield gateway


def sql(gateway: Gateway, statement: str) -> None:
    with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as database:
        database.execute(statement)


# --- database ---------------------------------------------------------------------------------------------------------
def test_a_database_that_is_well_says_what_it_is(gateway):
    findings = examine(gateway)
    assert wrong(findings, "database") == {}
    assert good(findings, "database")["connection"].startswith("SQLite 3.")


def test_postgresql_says_its_version_and_its_clock(on_postgresql, tmp_path):
    with Gateway(tmp_path / "data", **on_postgresql()) as gateway:
        findings = examine(gateway)
        assert good(findings, "database")["connection"].startswith("PostgreSQL ")
        assert "clock" in good(findings, "database")
        clock = Clock(tmp_path)
        clock.set_ahead(600)
        level, text = wrong(examine(gateway, **clock.env), "database")["clock"]
    assert level == "warning"
    assert re.search(r"(599|60\d) s behind", text)


def test_a_database_server_that_is_not_there_is_named_and_the_rest_is_examined(gateway):
    url = "postgresql://somebody:a-password@127.0.0.1:9/authgate"
    findings = examine(gateway, AUTHGATE_DATABASE_URL=url)
    level, text = wrong(findings, "database")["connection"]
    assert level == "error"
    assert "Connection refused" in text
    for subject in ("signing keys", "identity providers", "token issuers", "upstreams", "certificates"):
        assert any("not examined" in text for _, text in wrong(findings, subject).values()), subject
    assert good(findings, "files")
    assert "a-password" not in str(findings)


def test_a_file_that_is_gone_and_one_that_is_no_database_are_named(gateway):
    file = gateway.data_dir / "authgate.sqlite3"
    file.write_bytes(b"this is no database" * 1000)
    assert "is damaged, or no database" in wrong(examine(gateway), "database")["connection"][1]
    file.unlink()
    assert "is not there" in wrong(examine(gateway), "database")["connection"][1]
    assert not file.exists()


def test_a_missing_migration_is_named(gateway):
    newest = "SELECT max(name) FROM django_migrations WHERE app = 'authgate'"
    sql(gateway, f"DELETE FROM django_migrations WHERE app = 'authgate' AND name = ({newest})")
    level, text = wrong(examine(gateway), "database")["migrations"]
    assert (level, text) == ("error", "1 migration is missing; serve does not start")


def test_a_database_of_a_newer_version_is_named(gateway):
    sql(gateway, "INSERT INTO django_migrations (app, name, applied) VALUES ('authgate', '9999_later', '2026-01-01')")
    level, text = wrong(examine(gateway), "database")["migrations"]
    assert level == "warning"
    assert "authgate.9999_later" in text


# --- Redis ------------------------------------------------------------------------------------------------------------
def test_redis_that_is_well_says_its_version(gateway, valkey):
    findings = examine(gateway, AUTHGATE_REDIS_URL=valkey.url)
    assert wrong(findings, "Redis") == {}
    assert "Valkey " in good(findings, "Redis")["connection"]


def test_redis_that_is_down_is_named_without_its_password(gateway):
    findings = examine(gateway, AUTHGATE_REDIS_URL="redis://:a-password@127.0.0.1:9/0")
    level, text = wrong(findings, "Redis")["connection"]
    assert level == "error"
    assert text.startswith("127.0.0.1:9: ")
    assert "a-password" not in str(findings)


def test_redis_that_lets_nobody_run_scripts_is_named(gateway, valkey: Valkey):
    valkey.client.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-@scripting")
    findings = examine(gateway, AUTHGATE_REDIS_URL=valkey.url.replace("//", "//limited:pw@"))
    assert "permission" in wrong(findings, "Redis")["connection"][1]


# --- identity providers and issuers -----------------------------------------------------------------------------------
@pytest.fixture
def provider(gateway):
    with HostileProvider() as provider:
        gateway.shell.command(
            "provider", "add", "main", "--issuer", provider.url, "--client-id", CLIENT_ID,
            "--client-secret", CLIENT_SECRET,
        )  # fmt: skip
        yield provider


PROVIDERS = "identity providers"


def test_a_provider_that_is_well_has_nothing_wrong(gateway, provider):
    findings = examine(gateway)
    assert wrong(findings, PROVIDERS) == {}
    assert {"main: discovery", "main: keys", "main: credentials", "main: clock"} <= good(findings, PROVIDERS).keys()
    assert CLIENT_SECRET not in str(findings)


def test_a_provider_that_names_another_issuer_is_named(gateway, provider):
    provider.metadata["issuer"] = "https://other.example"
    assert "another issuer" in wrong(examine(gateway), PROVIDERS)["main: discovery"][1]


def test_a_wrong_client_secret_is_named(gateway, provider):
    provider.answers[TOKEN] = lambda seen: Reply(401, {"error": "invalid_client"})
    assert "client secret is wrong" in wrong(examine(gateway), PROVIDERS)["main: credentials"][1]


def test_a_clock_that_is_off_by_minutes_is_named(gateway, provider, tmp_path):
    clock = Clock(tmp_path)
    clock.set_ahead(300)
    level, text = wrong(examine(gateway, **clock.env), PROVIDERS)["main: clock"]
    assert level == "error"
    assert re.match(r"the provider's clock is (299|30\d) s behind", text)


def test_a_clock_of_the_provider_that_is_off_is_named(gateway, provider):
    honest = provider._metadata()
    provider.answers[DISCOVERY] = lambda seen: Reply(200, honest, {"Date": formatdate(time() + 240, usegmt=True)})
    assert "ahead" in wrong(examine(gateway), PROVIDERS)["main: clock"][1]


def test_a_provider_that_is_gone_is_named(gateway, provider):
    sql(gateway, "UPDATE authgate_identityprovider SET issuer = 'http://127.0.0.1:9'")
    level, text = wrong(examine(gateway), PROVIDERS)["main: discovery"]
    assert level == "error"
    assert "Connection refused" in text


def test_a_provider_that_hangs_is_named_in_time_and_holds_nothing_up(gateway, provider):
    from threading import Event

    never = Event()
    provider.answers[DISCOVERY] = lambda seen: never.wait(20) or Reply(500)  # type: ignore[func-returns-value]
    begun = time()
    findings = examine(gateway, "--seconds", "2")
    took = time() - begun
    never.set()
    assert wrong(findings, PROVIDERS)["main"] == ("error", "gave no answer within 2 s")
    assert took < 8
    assert good(findings, "upstreams")


def test_a_disabled_provider_is_not_asked(gateway, provider):
    sql(gateway, "UPDATE authgate_identityprovider SET enabled = 0")
    findings = examine(gateway)
    assert good(findings, PROVIDERS) == {"main": "disabled, and so not asked"}
    assert provider.seen == []


def test_an_issuer_without_keys_is_named(gateway):
    with TokenMaker() as ci:
        ci.register(gateway, "ci")
        assert wrong(examine(gateway), "token issuers") == {}
        ci.published = []
        assert "no key that can be used" in wrong(examine(gateway), "token issuers")["ci: keys"][1]


# --- keys and certificates --------------------------------------------------------------------------------------------
def test_keys_older_than_a_year_are_named(gateway, tmp_path):
    assert wrong(examine(gateway), "signing keys") == {}
    clock = Clock(tmp_path)
    clock.set_ahead(YEAR + 2 * 24 * 3600)
    found = wrong(examine(gateway, **clock.env), "signing keys")
    assert found.keys() == {"tokens", "assertions"}
    assert "367 days old" in found["tokens"][1]


def test_keys_that_another_secret_key_has_sealed_are_named(gateway):
    found = wrong(examine(gateway, AUTHGATE_SECRET_KEY="another secret key, of thirty-two characters"), "signing keys")
    assert found.get("authgate.W073", found)[0] == "error"
    assert "The gateway cannot start" in found["authgate.W073"][1]


def test_certificates_of_serve_and_of_upstreams_are_named_when_they_end(gateway_template, tmp_path):
    soon, ended = tmp_path / "soon", tmp_path / "ended"
    for directory, days in ((soon, 5), (ended, -2)):
        directory.mkdir()
        make_certificates(directory, days=days)
    policy = f"""\
version: 1
upstreams:
  api:
    targets: ["https://127.0.0.1:9"]
    tls: {{client_cert_file: {ended}/cert.pem, client_key_file: {ended}/key.pem, ca_file: {ended}/ca.pem}}
routes: [{{name: all, path: /, access: public, upstream: api}}]
"""
    args = ("--tls-cert", f"{soon}/cert.pem", "--tls-key", f"{soon}/key.pem")
    with Gateway(tmp_path / "data", template=gateway_template, policy=policy, args=args, tls=True) as gateway:
        gateway.start()
        (soon / "key.pem").chmod(0o644)
        findings = examine(gateway, SSL_CERT_FILE=f"{soon}/ca.pem")
    found = wrong(findings, "certificates")
    assert found.keys() == {"of serve, cert.pem", "key key.pem", "client certificate of upstream api"}
    assert found["of serve, cert.pem"][0] == "warning"
    assert "for 4 days" in found["of serve, cert.pem"][1]
    assert found["client certificate of upstream api"][0] == "error"
    assert "expired on " in found["client certificate of upstream api"][1]
    assert "CA of upstream api" in good(findings, "certificates")


# --- files ------------------------------------------------------------------------------------------------------------
def test_files_that_others_can_read_are_named(gateway):
    (gateway.data_dir / "secret_key").chmod(0o644)
    findings = examine(gateway)
    assert "is open to other users" in wrong(findings, "files")["authgate.W003"][1]
    assert "authgate.W003" not in wrong(findings, "configuration")


def test_a_file_of_another_user_is_named(gateway):
    import os

    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(gateway.data_dir / "authgate.sqlite3", 65534, 65534)
    level, text = wrong(examine(gateway), "files")["owners"]
    assert level == "error"
    assert "authgate.sqlite3" in text


def test_what_check_finds_is_among_the_configuration(gateway):
    found = wrong(examine(gateway, AUTHGATE_PUBLIC_URL="http://gateway.example.invalid"), "configuration")
    assert "plain http" in found["authgate.W001"][1]


# --- upstreams --------------------------------------------------------------------------------------------------------
def test_targets_that_do_not_serve_are_named(gateway, tmp_path, upstream):
    certificates = make_certificates(tmp_path)
    upstream.reply(answer(status="500 Broken"), path="/")
    refused = refused_target()
    (tmp_path / "soon").mkdir()
    soon = make_certificates(tmp_path / "soon", days=9)
    with (
        RecordingUpstream(tls=certificates.server_context()) as tls,
        RecordingUpstream(tls=soon.server_context()) as ending,
    ):
        secure = f"https://localhost:{tls.port}"
        gateway.import_policy(f"""\
version: 1
upstreams:
  broken: {{targets: ["{upstream.target}"]}}
  gone: {{targets: ["{refused}"]}}
  nameless: {{targets: ["http://no-such-host.invalid"]}}
  untrusted: {{targets: ["{secure}"]}}
  fine: {{targets: ["{secure}"], tls: {{ca_file: {certificates.ca_file}}}}}
  ending: {{targets: ["https://localhost:{ending.port}"], tls: {{ca_file: {soon.ca_file}}}}}
routes: [{{name: all, path: /, access: public, upstream: fine}}]
""")
        findings = examine(gateway)
    found = wrong(findings, "upstreams")
    assert found[f"broken: {upstream.target}"] == ("warning", "/ answers with status 500")
    assert found[f"gone: {refused}"] == ("error", "Connection refused")
    assert found["nameless: http://no-such-host.invalid"][1].startswith("name: ")
    assert "its certificate is not trusted" in found[f"untrusted: {secure}"][1]
    assert "for 8 days" in found[f"ending: https://localhost:{ending.port}, certificate"][1]
    fine = good(findings, "upstreams")
    assert list(fine) == [f"fine: {secure}", f"fine: {secure}, certificate", f"ending: https://localhost:{ending.port}"]


def test_the_report_names_every_file_by_its_path_and_no_secret(gateway):
    secret = Path(gateway.data_dir / "secret_key").read_text().strip()
    assert secret not in str(examine(gateway))


def test_the_end_of_a_servers_certificate_is_read_over_a_proven_connection(tmp_path):
    certificates = make_certificates(tmp_path, days=20)
    with RecordingUpstream(tls=certificates.server_context()) as tls:
        url = f"https://localhost:{tls.port}"
        end = valid_until(url, "server", certificates.ca_file.read_text())
        assert 19 <= (end - datetime.now(UTC)).days <= 20
        with pytest.raises(ProviderError, match="unable to get local issuer certificate"):
            valid_until(url, "server")


def test_plain_http_beside_https_is_looked_at(settings, upstream):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    upstream.reply(answer("Location: https://gateway.example.com/", status="301 Moved"), path="/good")
    assert judge_redirect(f"{upstream.target}/good").level == "ok"
    assert judge_redirect(f"{upstream.target}/").level == "warning"
    assert judge_redirect(refused_target()).level == "ok"


def test_what_is_no_file_is_not_read():
    """The policy names the file: a device has no end, and a pipe keeps the examination waiting."""
    assert judge_file("CA", Path("/dev/zero")).text == "'/dev/zero' is no file"
