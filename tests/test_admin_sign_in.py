from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User

from authgate.attempts import AttemptsCache

URL = "/admin/login/"


@pytest.fixture(autouse=True)
def attempts(settings, tmp_path, db):
    settings.CACHES = {"default": {"BACKEND": "authgate.attempts.AttemptsCache", "LOCATION": tmp_path}}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def one_window(monkeypatch):
    """Windows end at a full minute of their own; a test must not straddle one."""
    monkeypatch.setattr("django_ratelimit.core.time", SimpleNamespace(time=lambda: 1_800_000_000))


def attempt(client, username="admin", password="wrong", address="192.0.2.1", **headers):
    values = {"username": username, "password": password}
    return client.post(URL, values, REMOTE_ADDR=address, headers=headers)


def test_the_sixth_attempt_within_a_minute_is_refused_even_with_the_right_password(client):
    User.objects.create_superuser("admin", password="right")
    assert [attempt(client).status_code for _ in range(5)] == [200] * 5
    response = attempt(client, password="right")
    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= 60
    assert "sessionid" not in response.cookies


def test_five_attempts_are_enough_for_the_right_password(client):
    User.objects.create_superuser("admin", password="right")
    for _ in range(4):
        attempt(client)
    assert attempt(client, password="right").status_code == 302


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"username": "Admin "}, 429),
        ({"address": "192.0.2.2"}, 200),
        ({"username": "other"}, 200),
    ],
    ids=["the same account spelt differently", "another client", "another account"],
)
def test_attempts_are_counted_by_client_and_account(client, other, status):
    for _ in range(5):
        attempt(client)
    assert attempt(client, **other).status_code == status


def test_one_ipv6_network_is_one_client(client):
    for host in range(5):
        attempt(client, address=f"2001:db8::{host}")
    assert attempt(client, address="2001:db8::ffff").status_code == 429


def test_one_password_for_many_accounts_is_refused_after_twenty(client):
    answers = [attempt(client, username=f"user{index}").status_code for index in range(21)]
    assert answers == [200] * 20 + [429]


def test_looking_at_the_form_is_not_an_attempt(client):
    assert [client.get(URL).status_code for _ in range(30)] == [200] * 30


@pytest.mark.parametrize(
    ("accept", "content_type"), [("text/html", "text/html; charset=utf-8"), ("*/*", "application/json")]
)
def test_the_refusal_is_a_page_for_people_and_json_for_programs(client, accept, content_type):
    for _ in range(5):
        attempt(client)
    assert attempt(client, accept=accept)["Content-Type"] == content_type


COUNT = """
import sys
from authgate.attempts import AttemptsCache
cache = AttemptsCache(sys.argv[1], {})
for _ in range(100):
    if not cache.add("key", 1):
        cache.incr("key")
"""


def test_processes_that_count_at_once_lose_no_attempt(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(4)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 4
    assert AttemptsCache(str(tmp_path), {}).get("key") == 400
