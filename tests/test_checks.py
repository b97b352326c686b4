from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from django.core import checks
from django.core.checks.registry import registry

from tests.support.gateway import environment, manage

POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "gate", "HOST": "db.example.com", "OPTIONS": {}}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/gate.sqlite3"}
ANY = ipaddress.ip_network("0.0.0.0/0")


def ids() -> list[str]:
    """What the product's own checks say with the settings as they are."""
    ours = [check for check in registry.registered_checks if check.__module__ == "authgate.checks"]
    return [message.id for check in ours for message in check(app_configs=None)]


def test_the_defaults_pass_every_check(settings):
    settings.AUTHGATE_PUBLIC_URL = "http://localhost:8000"
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AUTHGATE_AUTH_PREFIX", "/admin", "authgate.E001"),
        ("AUTHGATE_AUTH_PREFIX", "/static/auth", "authgate.E001"),
        ("AUTHGATE_ALLOWED_HOSTS", ("*.example.com",), "authgate.E002"),
        ("AUTHGATE_ALLOWED_HOSTS", ("https://example.com",), "authgate.E002"),
        ("AUTHGATE_ALLOWED_HOSTS", ("example.com:8000",), "authgate.E002"),
        ("AUTHGATE_PUBLIC_URL", "http://gateway.example.com", "authgate.W001"),
        ("AUTHGATE_PUBLIC_URL", "http://10.0.0.1", "authgate.W001"),
        ("AUTHGATE_TRUSTED_PROXIES", (ANY,), "authgate.W002"),
        ("AUTHGATE_TRUSTED_PROXIES", (ipaddress.ip_network("::/0"),), "authgate.W002"),
        ("AUTHGATE_REDIS_URL", "redis://localhost", "authgate.W004"),
        ("DATABASES", {"default": POSTGRESQL}, "authgate.W005"),
    ],
)
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_a_bad_combination_is_reported(settings, name, value, expected):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.DATABASES = {"default": SQLITE}
    setattr(settings, name, value)
    assert ids() == [expected]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTHGATE_AUTH_PREFIX", "/_admin/auth"),
        ("AUTHGATE_ALLOWED_HOSTS", ("Example.com", "127.0.0.1", "[::1]")),
        ("AUTHGATE_PUBLIC_URL", "http://[::1]:8000"),
        ("AUTHGATE_PUBLIC_URL", "http://gateway.localhost"),
        ("AUTHGATE_TRUSTED_PROXIES", (ipaddress.ip_network("10.0.0.0/8"),)),
        ("DATABASES", {"default": {**POSTGRESQL, "OPTIONS": {"sslmode": "require"}}}),
        ("DATABASES", {"default": {**POSTGRESQL, "HOST": "/run/postgresql"}}),
    ],
)
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_a_sound_combination_passes(settings, name, value):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    setattr(settings, name, value)
    assert ids() == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_unencrypted_redis_on_another_machine_is_reported(settings):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.DATABASES = {"default": {**POSTGRESQL, "HOST": ""}}
    settings.AUTHGATE_REDIS_URL = "redis://:secret@cache.example.com"
    assert ids() == ["authgate.W006"]


def test_a_static_site_that_holds_the_data_directory_is_an_error(settings):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.AUTHGATE_STATIC_SITE = settings.AUTHGATE_DATA_DIR.parent
    assert "authgate.E003" in ids()


def test_a_static_site_that_holds_the_data_directory_through_a_link_is_an_error(settings, tmp_path):
    settings.AUTHGATE_STATIC_SITE = tmp_path / "link"
    settings.AUTHGATE_STATIC_SITE.symlink_to(settings.AUTHGATE_DATA_DIR)
    assert "authgate.E003" in ids()


def test_a_data_directory_open_to_others_is_reported(settings, tmp_path):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.AUTHGATE_DATA_DIR = tmp_path
    tmp_path.chmod(0o750)
    assert ids() == ["authgate.W003"]


def test_a_secret_key_open_to_others_is_reported(settings, tmp_path):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.AUTHGATE_DATA_DIR = tmp_path
    tmp_path.chmod(0o700)
    (tmp_path / "secret_key").touch(mode=0o644)
    assert ids() == ["authgate.W003"]


def test_every_message_has_a_hint_that_helps(settings):
    settings.AUTHGATE_TRUSTED_PROXIES = (ANY,)
    messages = checks.run_checks(tags=[checks.Tags.security])
    assert [message.hint for message in messages if message.id == "authgate.W002"] == [
        "Name only the proxies directly in front of the gateway."
    ]


def test_the_check_command_reports_them(tmp_path: Path):
    env = environment(tmp_path / "data", AUTHGATE_AUTH_PREFIX="/admin")
    result = manage(env, "check")
    assert result.returncode == 1
    assert "(authgate.E001)" in result.stderr
