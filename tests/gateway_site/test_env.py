from __future__ import annotations

import ipaddress
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway_site import database, env
from tests.support.gateway import ROOT, environment, manage


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(env.EnvError) as caught:
        function(*args, **kwargs)
    return str(caught.value.code)


# --- text, files, choices ---------------------------------------------------------------------------------
def test_a_variable_wins_over_its_default():
    assert env.text("A", "default", {"A": "set"}) == "set"


def test_an_empty_variable_counts_as_unset():
    assert env.text("A", "default", {"A": ""}) == "default"


def test_a_secret_is_read_from_the_file_its_variable_names(tmp_path):
    (tmp_path / "secret").write_text("  from file\n")
    assert env.text("A", "", {"A_FILE": str(tmp_path / "secret")}) == "from file"


def test_a_variable_and_its_file_together_are_refused(tmp_path):
    assert refusal(env.text, "A", "", {"A": "x", "A_FILE": "/y"}) == "authgate: A: set either A or A_FILE, not both"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "No such file or directory", id="missing"),
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n", "is empty", id="blank"),
        pytest.param(b"\xff\xfe", "can't decode", id="not text"),
    ],
)
def test_an_unusable_secret_file_is_named(tmp_path, content, problem):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    message = refusal(env.text, "A", "", {"A_FILE": str(path)})
    assert message.startswith("authgate: A_FILE: ")
    assert str(path) in message
    assert problem in message


def test_an_unknown_choice_is_refused_with_the_known_ones():
    message = refusal(env.choice, "A", "json", ("json", "off"), {"A": "JSON"})
    assert message == "authgate: A: must be one of json, off, not 'JSON'"


def test_a_rate_is_a_number_per_second():
    assert (env.per_second("A", "5/s", {}), env.per_second("A", "5/s", {"A": "200/s"})) == (5, 200)


@pytest.mark.parametrize("value", ["5", "0/s", "10001/s", "5/m", "-1/s", "1.5/s", "5/s ", "²/s"])
def test_a_rate_that_is_none_is_refused(value):
    assert refusal(env.per_second, "A", "5/s", {"A": value}).startswith("authgate: A: must look like 5/s")


def test_words_are_split_at_commas_and_spaces():
    assert env.words("A", {"A": " a.example, b.example  c.example,"}) == ("a.example", "b.example", "c.example")


def test_networks_are_addresses_and_blocks():
    assert env.networks("A", {"A": "10.0.0.0/8, ::1"}) == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )


@pytest.mark.parametrize(("word", "network"), [("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:a00:1", "10.0.0.1/32")])
def test_a_network_of_ipv4_mapped_addresses_is_the_ipv4_network(word, network):
    assert env.networks("A", {"A": word}) == (ipaddress.ip_network(network),)


def test_what_may_be_opened_to_some_networks_is_on_off_or_named():
    assert [env.open_to("A", "on", {"A": value} if value else {}) for value in ("", "on", "off")] == [None, None, ()]
    assert env.open_to("A", "on", {"A": "10.0.0.0/8, ::1"}) == env.networks("A", {"A": "10.0.0.0/8, ::1"})


@pytest.mark.parametrize("value", ["yes", "On", "on, 10.0.0.0/8", "10.0.0.1/8", "off ", "localhost"])
def test_what_is_neither_is_refused_and_the_choice_named(value):
    assert "on, off, an address or CIDR block" in refusal(env.open_to, "A", "on", {"A": value})


@pytest.mark.parametrize("word", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example.com", "10.0.0", "*"])
def test_a_network_that_is_none_is_named(word):
    assert refusal(env.networks, "A", {"A": f"127.0.0.1 {word}"}).startswith(f"authgate: A: {word!r} is not")


# --- URLs and paths ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("https://gateway.example.com", "https://gateway.example.com", id="as written"),
        pytest.param("https://gateway.example.com/", "https://gateway.example.com", id="slash"),
        pytest.param("HTTPS://Gateway.Example.com:443", "https://gateway.example.com", id="default port"),
        pytest.param("http://localhost:8000", "http://localhost:8000", id="port"),
        pytest.param("http://[::1]:8000", "http://[::1]:8000", id="IPv6"),
        pytest.param("http://127.0.0.1", "http://127.0.0.1", id="IPv4"),
    ],
)
def test_a_public_url_becomes_an_origin(value, expected):
    assert env.public_url("A", "http://localhost:8000", {"A": value}) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("gateway.example.com", id="no scheme"),
        pytest.param("ftp://gateway.example.com", id="other scheme"),
        pytest.param("https://", id="no host"),
        pytest.param("https://gateway.example.com/app", id="path"),
        pytest.param("https://gateway.example.com?x", id="query"),
        pytest.param("https://gateway.example.com#x", id="fragment"),
        pytest.param("https://user@gateway.example.com", id="userinfo"),
        pytest.param("https://gateway.example.com:0", id="port 0"),
        pytest.param("https://gateway.example.com:99999", id="port too large"),
        pytest.param("https://gateway.example.com:x", id="port not a number"),
        pytest.param("https://gate way.example.com", id="space"),
        pytest.param("https://gäteway.example.com", id="not ASCII"),
        pytest.param("https://gateway.example.com.", id="dot at the end"),
        pytest.param("https://*.example.com", id="wildcard"),
        pytest.param("https://1.2.3", id="three octets"),
        pytest.param("https://[::1", id="open bracket"),
        pytest.param("https://[fe80::1%eth0]", id="zone"),
    ],
)
def test_a_public_url_that_is_not_an_origin_is_refused(value):
    assert refusal(env.public_url, "A", "", {"A": value}).startswith("authgate: A: ")


@pytest.mark.parametrize("value", ["/auth", "/a/b", "/_authgate"])
def test_a_path_prefix_is_plain_segments(value):
    assert env.path_prefix("A", "/auth", {"A": value}) == value


@pytest.mark.parametrize("value", ["auth", "/", "/auth/", "/a//b", "/..", "/a/../b", "/a%2fb", "/a?b", "/.a", "/a\n"])
def test_a_path_prefix_with_anything_else_is_refused(value):
    assert refusal(env.path_prefix, "A", "/auth", {"A": value}).startswith("authgate: A: must look like /auth")


@pytest.mark.parametrize(
    "value", ["redis://localhost", "rediss://:secret@cache.example.com:6380/1", "unix:///run/valkey.sock", ""]
)
def test_a_redis_url_is_kept_as_written(value):
    assert env.redis_url("A", {"A": value}) == value


@pytest.mark.parametrize(
    "value",
    ["localhost:6379", "http://localhost/s3cret", "redis://", "redis://:s3cret@h:x", "unix://", "redis:///s3cret"],
)
def test_a_wrong_redis_url_is_refused_without_repeating_it(value):
    message = refusal(env.redis_url, "A", {"A": value})
    assert message.startswith("authgate: A: ")
    assert "s3cret" not in message


# --- directories and the secret key -----------------------------------------------------------------------
def test_a_directory_is_made_for_its_owner_only(tmp_path):
    made = env.directory("A", "", {"A": str(tmp_path / "a" / "b")}, create=True)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize("create", [True, False])
def test_a_directory_that_is_a_file_is_refused(tmp_path, create):
    (tmp_path / "f").touch()
    assert "authgate: A: " in refusal(env.directory, "A", "", {"A": str(tmp_path / "f")}, create=create)


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    message = refusal(env.optional_directory, "A", {"A": str(tmp_path / "none")})
    assert message == f"authgate: A: '{tmp_path}/none' is not a directory"


def test_a_secret_key_is_made_once_for_its_owner_only(tmp_path):
    first = env.secret_key("A", tmp_path, {})
    assert len(first) >= 32
    assert env.secret_key("A", tmp_path, {}) == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_processes_that_start_together_get_the_same_secret_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: env.secret_key("A", tmp_path, {}), range(32)))
    assert len(keys) == 1


def test_a_short_secret_key_is_refused_without_repeating_it(tmp_path):
    message = refusal(env.secret_key, "A", tmp_path, {"A": "short"})
    assert message == "authgate: A: must have at least 32 characters, has 5"


def test_a_kept_secret_key_that_was_cut_short_is_refused(tmp_path):
    (tmp_path / "secret_key").touch()
    assert refusal(env.secret_key, "A", tmp_path, {}).endswith("has 0")


@pytest.mark.parametrize("content", [bytes(64), b"x" * 40 + bytes(24)], ids=["NULs", "NULs at the end"])
def test_a_kept_secret_key_of_nuls_is_refused_by_name(tmp_path, content):
    (tmp_path / "secret_key").write_bytes(content)
    assert refusal(env.secret_key, "A", tmp_path, {}).endswith("secret_key' is damaged: restore it")


def test_a_lost_secret_key_is_not_made_anew_beside_what_it_sealed(tmp_path):
    (tmp_path / "a.sqlite3").write_bytes(b"content")
    message = refusal(env.secret_key, "A", tmp_path, {}, sealed_in=tmp_path / "a.sqlite3")
    assert message.endswith(f"secret_key', which opens '{tmp_path}/a.sqlite3', is gone: restore it")
    assert not (tmp_path / "secret_key").exists()


def test_a_full_disk_leaves_no_half_written_secret_key(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert refusal(env.secret_key, "A", tmp_path, {}).endswith("No space left on device")
    assert list(tmp_path.iterdir()) == []


# --- the database -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "name"),
    [
        pytest.param("sqlite:////srv/a.db", "/srv/a.db", id="absolute"),
        pytest.param("sqlite:///a.db", "a.db", id="relative"),
        pytest.param("sqlite:////srv/a%23b.db", "/srv/a#b.db", id="escaped"),
    ],
)
def test_a_sqlite_url_names_a_file(url, name):
    assert database.from_url("A", Path("/x"), {"A": url})["NAME"] == name


def test_the_default_database_may_lie_in_a_directory_of_any_name():
    assert database.from_url("A", Path("/srv/a#b?c%20d/x.db"), {})["NAME"] == "/srv/a#b?c%20d/x.db"


def test_a_postgresql_url_becomes_django_settings():
    settings = database.from_url(
        "A", Path("/x"), {"A": "postgresql://us%65r:p%40ss@db.example.com:5433/gate?sslmode=require"}
    )
    assert (settings["USER"], settings["PASSWORD"], settings["HOST"], settings["PORT"], settings["NAME"]) == (
        "user", "p@ss", "db.example.com", "5433", "gate",
    )  # fmt: skip
    assert settings["OPTIONS"]["sslmode"] == "require"


def test_a_postgresql_socket_directory_is_its_host():
    settings = database.from_url("A", Path("/x"), {"A": "postgres://postgres@/gate?host=/run/postgresql"})
    assert (settings["HOST"], settings["PORT"]) == ("/run/postgresql", "")
    assert "host" not in settings["OPTIONS"]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mysql://u:s3cret@h/db", id="other database"),
        pytest.param("postgresql://u:s3cret@h", id="no database"),
        pytest.param("postgresql://u:s3cret@h:x/db", id="port not a number"),
        pytest.param("postgresql://u:s3cret#x@h/db", id="unescaped hash"),
        pytest.param("postgresql://u:s3cret@h/db?sslmod=require", id="unknown option"),
        pytest.param("sqlite://", id="no file"),
        pytest.param("sqlite://relative/a.db", id="two slashes"),
        pytest.param("sqlite:////a.db?mode=ro", id="query"),
        pytest.param("sqlite:///:memory:", id="memory"),
        pytest.param("/srv/a.db", id="no scheme"),
    ],
)
def test_a_wrong_database_url_is_refused_without_repeating_it(url):
    message = refusal(database.from_url, "A", Path("/x"), {"A": url})
    assert message.startswith("authgate: A: ")
    assert "s3cret" not in message


def test_postgresql_settings_connect(postgres):
    from django.db.backends.postgresql.base import DatabaseWrapper

    settings = database.from_url("A", Path("/x"), {"A": postgres.create_database()})
    defaults = {"TIME_ZONE": None, "CONN_MAX_AGE": 0, "AUTOCOMMIT": True, "ATOMIC_REQUESTS": False}
    wrapper = DatabaseWrapper({**defaults, **settings})
    with wrapper.get_new_connection(wrapper.get_connection_params()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


# --- start-up ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTHGATE_PUBLIC_URL", "gateway"),
        ("AUTHGATE_AUTH_PREFIX", "auth"),
        ("AUTHGATE_TRUSTED_PROXIES", "everyone"),
        ("AUTHGATE_REDIS_URL", "localhost"),
        ("AUTHGATE_DATABASE_URL", "oracle://x"),
        ("AUTHGATE_SECRET_KEY", "short"),
        ("AUTHGATE_STATIC_SITE", "/nowhere"),
        ("AUTHGATE_ACCESS_LOG", "yes"),
        ("AUTHGATE_LOG_LEVEL", "loud"),
        ("AUTHGATE_DATA_DIR", "/dev/null/var"),
        ("AUTHGATE_SECRET_KEY_FILE", "/nowhere"),
    ],
)
def test_a_bad_value_stops_every_command_with_one_line_that_names_it(tmp_path, name, value):
    result = manage(environment(tmp_path, **{name: value}), "check")
    assert result.returncode == 1
    assert result.stderr.startswith(f"authgate: {name}: ")
    assert result.stderr.count("\n") == 1


def test_settings_load_without_any_variable_but_the_data_directory(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", "from gateway_site import settings; print(settings.AUTHGATE_SESSION_COOKIE)"],
        env=environment(tmp_path), cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert result.stdout == "auth_token\n"


# --- traces -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "read"),
    [("", ""), ("http://c:4318", "http://c:4318"), ("https://c/otlp/", "https://c/otlp")],
)
def test_a_collector(given, read):
    assert env.http_url("X", {"X": given}) == read


@pytest.mark.parametrize(
    "given", ["c:4318", "ftp://c", "http://", "http://c:0", "http://c:x", "http://u@c", "http://c?x=1"]
)
def test_no_collector(given):
    assert "X" in refusal(env.http_url, "X", {"X": given})


@pytest.mark.parametrize(("given", "read"), [("0", 0), ("1", 1), ("0.25", 0.25), (".5", 0.5), ("1.0", 1)])
def test_a_ratio(given, read):
    assert env.ratio("X", "1", {"X": given}) == read


@pytest.mark.parametrize("given", ["2", "-0.1", "10%", "1.5", "nan", "x"])
def test_no_ratio(given):
    assert "a number from 0 to 1" in refusal(env.ratio, "X", "1", {"X": given})
