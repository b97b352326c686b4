from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from authgate import ratelimit
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.storage import create_storage

URL = "/admin/login/"


@pytest.fixture(autouse=True)
def attempts(settings, monkeypatch, db):
    monkeypatch.setattr(ratelimit, "_local", LocalLimits(create_storage()))
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


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


def test_looking_at_the_form_is_not_an_attempt(client):
    assert [client.get(URL).status_code for _ in range(30)] == [200] * 30


@pytest.mark.parametrize(
    ("accept", "content_type"), [("text/html", "text/html; charset=utf-8"), ("*/*", "application/json")]
)
def test_the_refusal_is_a_page_for_people_and_json_for_programs(client, accept, content_type):
    for _ in range(5):
        attempt(client)
    assert attempt(client, accept=accept)["Content-Type"] == content_type


def test_an_address_is_not_answered_with_many_times_its_length(client):
    response = client.get(URL + "?next=/" + "'" * 7000)
    assert (response.status_code, response["Location"], len(response.content)) == (302, URL, 0)


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_whoever_signs_in_with_a_bad_next_lands_in_the_admin(client, place):
    User.objects.create_superuser("root", password="right")
    answer = client.post("/admin/login/", {"username": "root", "password": "right", "next": place})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_the_same_account_in_another_script_is_the_same_account(client):
    """Django takes the fullwidth letters for plain ones (NFKC), so these guess at one password."""
    User.objects.create_superuser("admin", password="right")
    names = ["admin", "\uff41dmin", "a\uff44min", " " * 251 + "admin", " " * 300 + "admin", "admi\uff4e"]
    assert [attempt(client, name).status_code for name in names] == [200] * 5 + [429]
