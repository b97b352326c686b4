from __future__ import annotations

import ipaddress
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.checks.registry import registry

from authgate.checks.database import ROWS
from authgate.models.people import IdentityProvider, Person
from authgate.policy import revisions
from authgate.policy.document import from_plain
from authgate.policy.powers import Machine
from gateway_site.env import files
from tests.support.gateway import Gateway, environment, manage

POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "gate", "HOST": "db.example.com", "OPTIONS": {}}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/gate.sqlite3"}
ANY = ipaddress.ip_network("0.0.0.0/0")


def networks(text: str) -> tuple[object, ...]:
    return tuple(map(ipaddress.ip_network, text.split()))


def ids() -> list[str]:
    """What the product's own checks say of the settings as they are."""
    rooms = ("authgate.", "gateway_site.")
    ours = [check for check in registry.registered_checks if check.__module__.startswith(rooms)]
    return [message.id for check in ours for message in check(app_configs=None, databases=None)]


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
        ("AUTHGATE_TRUSTED_PROXIES", networks("::/1 8000::/1"), "authgate.W002"),
        ("AUTHGATE_TRUSTED_PROXIES", networks("0.0.0.0/2 192.0.0.0/2 64.0.0.0/2 128.0.0.0/2"), "authgate.W002"),
        ("AUTHGATE_TRUSTED_PROXIES", (*ANY.subnets(new_prefix=10),), "authgate.W002"),
        ("AUTHGATE_TRUSTED_PROXIES", networks("2000::/3"), "authgate.W002"),
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
        ("AUTHGATE_TRUSTED_PROXIES", networks("10.0.0.0/8 fc00::/7 127.0.0.0/8 192.168.0.0/16")),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [("AUTHGATE_TRUSTED_PROXIES", networks("10.0.0.1")), ("AUTHGATE_ALLOWED_HOSTS", ("gateway.example.com",))],
)
@pytest.mark.parametrize("url", ["http://localhost:8000", "http://app.localhost", "https://127.0.0.1"])
def test_a_public_url_of_this_machine_alone_where_others_come_is_reported(settings, name, value, url):
    settings.AUTHGATE_PUBLIC_URL = url
    setattr(settings, name, value)
    assert ids() == ["authgate.W008"]


@pytest.mark.parametrize(("mode", "expected"), [(0o644, ["authgate.W009"]), (0o620, ["authgate.W009"]), (0o640, [])])
@pytest.mark.parametrize("name", ["AUTHGATE_SECRET_KEY", "AUTHGATE_DATABASE_URL", "AUTHGATE_REDIS_URL"])
def test_a_file_of_a_secret_open_to_others_is_reported(settings, tmp_path, name, mode, expected):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    (tmp_path / "secret").touch()
    (tmp_path / "secret").chmod(mode)
    settings.AUTHGATE_SECRET_FILES = files(name, environ={f"{name}_FILE": str(tmp_path / "secret")})
    assert ids() == expected


@pytest.mark.parametrize(("mode", "expected"), [(0o777, ["authgate.W010"]), (0o1777, []), (0o755, [])])
def test_a_directory_above_the_data_that_others_may_write_to_is_reported(settings, tmp_path, mode, expected):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    settings.AUTHGATE_DATA_DIR = tmp_path / "open" / "below" / "data"
    settings.AUTHGATE_DATA_DIR.mkdir(parents=True)
    settings.AUTHGATE_DATA_DIR.chmod(0o700)
    (tmp_path / "open").chmod(mode)
    assert ids() == expected


# --- what is in the database --------------------------------------------------------------------------------
def in_database() -> list[str]:
    messages = checks.run_checks(tags=[ROWS], databases=["default"])
    return [message.id for message in messages if message.level > checks.INFO]


def provider(**fields: object) -> IdentityProvider:
    given = {"slug": "corp", "issuer": "https://idp.example.com", "client_id": "gate"} | fields
    return IdentityProvider.objects.create(**given)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"issuer": "http://127.0.0.1:9000"}, ["authgate.E004"]),
        ({"issuer": "http://idp.localhost:9000"}, ["authgate.E004"]),
        ({"issuer": "http://[::1]"}, ["authgate.E004"]),
        ({"token_endpoint": "http://localhost/token"}, ["authgate.E004"]),
        ({"issuer": "http://127.0.0.1:9000", "enabled": False}, []),
        ({"issuer": "https://127.0.0.1:9000"}, []),
        ({}, []),
    ],
)
@pytest.mark.parametrize("shared_by", ["public URL", "allowed host"])
def test_a_provider_in_the_clear_on_this_machine_is_an_error_where_others_come(settings, shared_by, fields, expected):
    settings.AUTHGATE_PUBLIC_URL = "http://localhost:8000"
    provider(**fields)
    assert in_database() == []
    if shared_by == "public URL":
        settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    else:
        settings.AUTHGATE_ALLOWED_HOSTS = ("gateway.example.com",)
    assert in_database() == expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("slug", "expected"), [("demo", ["authgate.E005"]), ("corp", [])], ids=["of the demo", "of another provider"]
)
def test_people_of_the_demo_are_an_error_where_others_come(settings, slug, expected):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    known = provider(slug=slug, client_id="authgate", issuer="http://127.0.0.1:9000", enabled=False)
    Person.objects.create(provider=known, provider_subject="alice")
    assert in_database() == expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({"username": "admin", "email": "admin@localhost"}, ["authgate.E005"]),
        ({"username": "admin", "email": "admin@localhost", "is_active": False}, []),
        ({"username": "admin", "email": "me@example.com"}, []),
        ({"username": "sso:demo|root"}, ["authgate.E005"]),
        ({"username": "sso:corp|root"}, []),
    ],
)
def test_accounts_of_the_demo_are_an_error_where_others_come(settings, account, expected):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    User.objects.create(**account)
    assert in_database() == expected


@pytest.mark.django_db
def test_somebodys_own_provider_called_demo_is_none_of_the_demo(settings):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    known = provider(slug="demo", client_id="authgate", issuer="https://demo.example.com")
    Person.objects.create(provider=known, provider_subject="alice")
    User.objects.create(username="sso:demo|alice")
    assert in_database() == []


@pytest.mark.django_db
def test_a_live_policy_that_the_settings_no_longer_allow_is_reported(settings):
    route = {"name": "r", "host": "admin.example.com", "path": "/admin", "access": "public", "upstream": "u"}
    upstreams = {"u": {"targets": ["http://127.0.0.1:1"]}}
    revisions.replace(from_plain({"version": 1, "upstreams": upstreams, "routes": [route]}), Machine("test"))
    assert in_database() == []
    settings.AUTHGATE_ALLOWED_HOSTS = ("admin.example.com",)
    assert in_database() == ["authgate.W011"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("networks", "has_provider", "access", "expected"),
    [
        ((), True, "superuser", []),
        ((), True, "staff", []),
        ((), False, "superuser", ["authgate.W040"]),
        ((), True, "none", ["authgate.W040"]),
        (None, False, "none", []),
        (networks("10.0.0.0/8"), False, "none", []),
    ],
)
def test_a_gateway_whose_admin_nobody_can_enter_is_reported(settings, networks, has_provider, access, expected):
    settings.AUTHGATE_ADMIN_LOCAL_SIGN_IN = networks
    if has_provider:
        provider()
    revisions.replace(from_plain({"version": 1, "roles": {"r": {"admin": access}}}), Machine("test"))
    assert in_database() == expected


@pytest.fixture
def data_dir(gateway_template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(gateway_template, tmp_path / "data")


def test_a_command_that_could_mend_them_is_not_stopped_by_errors_in_the_database(data_dir: Path):
    env = environment(data_dir)
    add = ("provider", "add", "x", "--issuer", "http://127.0.0.1:1", "--client-id", "a", "--client-secret", "b")
    assert manage(env, *add).returncode == 0
    env |= {"AUTHGATE_PUBLIC_URL": "https://gateway.example.com"}
    checked = manage(env, "check")
    assert (checked.returncode, checked.stderr.count("authgate.E004")) == (1, 1)
    assert manage(env, "provider", "remove", "x").returncode == 0
    assert manage(env, "check").returncode == 0


def test_a_client_secret_that_cannot_be_opened_is_found_by_a_plain_check_and_at_start(
    gateway_template: Path, tmp_path: Path
):
    add = ("provider", "add", "x", "--issuer", "https://idp.example.com", "--client-id", "a", "--client-secret", "b")
    with Gateway(tmp_path / "data", template=gateway_template) as gateway:
        gateway.manage(*add)
        with closing(sqlite3.connect(gateway.data_dir / "authgate.sqlite3", isolation_level=None)) as database:
            database.execute("UPDATE authgate_identityprovider SET sealed_client_secret = 'nonsense'")
        assert "authgate.W007" in gateway.run("check").stderr
        gateway.start()
        assert "authgate.W007: The client secret of the identity provider 'x' cannot be opened" in gateway.output


def test_a_database_that_is_away_is_said_and_no_error(tmp_path: Path):
    url = "postgresql://gate:s3cret@127.0.0.1:1/gate"
    checked = manage(environment(tmp_path / "data", AUTHGATE_DATABASE_URL=url, AUTHGATE_SECRET_KEY="k" * 32), "check")
    assert (checked.returncode, checked.stderr.count("authgate.W012")) == (0, 1)
    assert "s3cret" not in checked.stderr


def test_a_gateway_for_others_without_a_provider_is_told_to_add_one(data_dir: Path):
    env = environment(data_dir, AUTHGATE_PUBLIC_URL="https://gateway.example.com")
    assert "authgate.I074" in manage(env, "check").stderr
    manage(env, "provider", "add", "x", "--issuer", "https://idp.example.com", "--client-id", "a", "--public-client")
    assert "authgate.I074" not in manage(env, "check").stderr


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
