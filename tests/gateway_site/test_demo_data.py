"""What a demo writes, and what of it can be removed, by its functions and commands."""

from __future__ import annotations

import json
import re
import sqlite3
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError

from authgate.models.people import IdentityProvider, Person
from authgate.policy import revisions
from authgate.policy.powers import Machine
from authgate.policy.schema import PolicyDocument, Role
from gateway_site.demo import openid, traces
from gateway_site.demo.banner import banner
from gateway_site.demo.data import create_admin
from gateway_site.demo.page import render
from gateway_site.demo.processes import claim_port
from gateway_site.demo.sign_in import CONFIGURATION, prepare
from tests.support.browser import chromium
from tests.support.gateway import ROOT, environment, free_port, manage


@pytest.mark.django_db
def test_the_removal_of_a_demo_takes_those_who_were_kept_out_with_it(tmp_path):
    issuer = {"issuer": "http://127.0.0.1:9000", "client_id": traces.CLIENT_ID}
    provider = IdentityProvider.objects.create(slug=traces.PROVIDER, name="Demo", **issuer)
    Person.objects.create(provider=provider, provider_subject="root", is_active=False)
    User.objects.create(username="sso:demo|root", is_active=False)
    assert [what.partition(",")[0] for what in traces.remove(tmp_path)] == [
        "the account sso:demo|root", "the identity provider demo",
    ]  # fmt: skip
    assert traces.remove(tmp_path) == []


@pytest.mark.django_db
def test_the_policy_of_a_demo_is_removed_once_and_nobody_else_s_is(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    assert len(traces.remove(tmp_path)) == 1
    assert traces.remove(tmp_path) == []
    revisions.replace(PolicyDocument(roles={"b": Role()}), Machine("demo"), "added role b")  # an account of that name
    assert traces.remove(tmp_path) == []


@pytest.mark.django_db
def test_the_policy_of_a_demo_that_was_edited_is_kept_and_said_to_be(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    revisions.replace(PolicyDocument(roles={"b": Role()}), Machine("ann"), "edited")
    out = StringIO()
    call_command("demo", "--remove", stdout=out)
    assert "kept the policy, revision 2: it was changed since the demo" in out.getvalue()
    assert "manage.py policy show" in out.getvalue()


@pytest.mark.django_db
def test_a_demo_policy_that_is_removed_is_not_said_to_be_kept(tmp_path):
    revisions.replace(PolicyDocument(roles={"a": Role()}), Machine(traces.AUTHOR), traces.COMMENT)
    traces.remove(tmp_path)
    assert traces.kept() == []


@pytest.mark.django_db
@pytest.mark.parametrize("email", [traces.ADMIN_EMAIL, "ann@example.com"])
def test_an_account_of_the_demo_s_name_that_somebody_else_made_stays(tmp_path, email):
    traces.mark()
    theirs = User.objects.create_superuser("first", "a@example.com")
    traces.note_account(theirs)
    theirs.delete()
    User.objects.create_superuser(traces.ADMIN, email)
    traces.remove(tmp_path)
    assert User.objects.filter(username=traces.ADMIN).exists()


@pytest.mark.django_db
def test_an_account_of_the_demo_s_name_makes_no_demo_of_a_gateway():
    User.objects.create_superuser(traces.ADMIN, traces.ADMIN_EMAIL)
    assert not traces.is_marked()


@pytest.mark.django_db
def test_the_account_that_the_demo_made_goes_with_it(tmp_path):
    traces.mark()
    assert create_admin()
    assert traces.remove(tmp_path) == ["the account admin"]


def test_a_demo_that_others_could_reach_does_not_start_and_leaves_nothing(tmp_path):
    env = environment(tmp_path / "data", AUTHGATE_PUBLIC_URL="https://gateway.example.com")
    refused = manage(env, "demo", "--port", str(free_port()))
    assert "gateway.example.com: the demo is for this machine alone" in refused.stderr
    assert not (tmp_path / "data" / "authgate.sqlite3").exists()


def test_a_demo_does_not_start_on_the_database_of_a_gateway_in_use(tmp_path):
    env = environment(tmp_path / "data", DJANGO_SUPERUSER_PASSWORD="a long pass phrase")
    manage(env, "migrate")
    assert manage(env, "createsuperuser", "--noinput", "--username=ann", "--email=ann@example.com").returncode == 0
    refused = manage(env, "demo", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "CommandError: The database here is that of a gateway in use" in refused.stderr
    with sqlite3.connect(tmp_path / "data" / "authgate.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM authgate_policyrevision").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM authgate_stateversion WHERE name = 'demo'").fetchone() == (0,)
    database.close()


# --- its functions
def test_no_password_in_a_url_is_printed(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTHGATE_DATABASE_URL", "postgresql://gate:s3cret@db.example.com/gate")
    monkeypatch.setenv("AUTHGATE_REDIS_URL", "redis://:s3cret@redis.example.com/0")
    url = "http://localhost:8000"
    text = banner(url=url, auth_prefix="/auth", data_dir=tmp_path, root=ROOT, password=None, sign_in="")
    assert "s3cret" not in text
    assert ", with AUTHGATE_DATABASE_URL set as here:" in text


def test_a_new_password_is_set_in_the_database_of_this_demo(tmp_path):
    text = banner(url="http://a", auth_prefix="/auth", data_dir=tmp_path, root=ROOT, password=None, sign_in="")
    assert re.search(rf"to set a new one: AUTHGATE_DATA_DIR={tmp_path} .+ manage.py changepassword admin", text)


def test_its_page_fits_a_telephone():
    received = {
        "method": "GET", "path": "/" + "a" * 200, "query": "q" * 200, "identity": {"assertion": {"claim": "c" * 300}},
        "headers": {"x-a-header-with-quite-a-long-name-as-some-proxies-send-it": "v" * 300},
    }  # fmt: skip
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_content(render(received))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


NAMES = ["127.0.0.1", "[::1]", "app.localhost", "localhost"]


@pytest.mark.django_db
@pytest.mark.parametrize("public", NAMES)
@pytest.mark.parametrize("port", ["", ":8000"])
def test_sign_in_comes_back_to_every_name_of_this_machine(settings, tmp_path, public, port):
    settings.AUTHGATE_PUBLIC_URL, settings.AUTHGATE_ALLOWED_HOSTS = f"http://{public}{port}", ("app.localhost",)
    prepare(tmp_path, settings.AUTHGATE_PUBLIC_URL, "/auth")
    client = json.loads((tmp_path / CONFIGURATION).read_text())["clients"][0]
    names = [public, *(name for name in NAMES if name != public)]
    assert client["redirect_uris"] == [f"http://{name}{port}/auth/callback/demo" for name in names]


def test_without_its_packages_the_provider_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(openid, "DIRECTORY", tmp_path)
    with pytest.raises(openid.ProviderUnavailable, match="its packages are not installed"):
        openid.command(tmp_path / "configuration")


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(CommandError, match=f"port {port}: there is no such port; choose another: make run PORT=8001"):
        claim_port(port)
