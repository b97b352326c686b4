"""The form of an upstream: what it takes, and where it says what is wrong."""

from __future__ import annotations

import pytest
from django.urls import reverse

from authgate.models.policy import Upstream
from authgate.policy import revisions
from tests.support.admin import form_values, publish, sign_in

pytestmark = pytest.mark.django_db
ONE, TWO = "https://one.internal", "https://two.internal"
FULL = {
    "name": "shop", "targets": f"{ONE}\n{TWO}", "balance": "cookie", "weights": f"{ONE} = 3\n\n", "retries": "0",
    "connections": "20", "queue": "5", "queue_timeout": "1.5", "health_path": "/up", "health_status": "200 204",
    "health_interval": "3", "health_timeout": "1", "healthy_after": "1", "unhealthy_after": "4",
    "tls_ca_file": "/etc/ca.pem", "tls_server_name": "shop.internal", "tls_client_cert_file": "/etc/c.pem",
    "tls_client_key_file": "/etc/k.pem", "tls_min_version": "1.3",
}  # fmt: skip
ADD = reverse("admin:authgate_upstream_add")


@pytest.fixture
def admin_client(client):
    publish()
    return sign_in(client)


def live(name="shop"):
    return revisions.live_document().upstreams[name]


def change_url(name="shop"):
    return reverse("admin:authgate_upstream_change", args=[Upstream.objects.get(name=name).pk])


def test_the_form_says_all_that_a_file_says(admin_client):
    assert admin_client.post(ADD, FULL).status_code == 302
    upstream = live()
    assert (upstream.balance, upstream.weights, upstream.retries, upstream.connections) == ("cookie", {ONE: 3}, 0, 20)
    assert (upstream.health.path, upstream.health.status, upstream.health.unhealthy_after) == ("/up", (200, 204), 4)
    assert (upstream.tls.server_name, upstream.tls.min_version) == ("shop.internal", "1.3")
    values = form_values(admin_client, change_url())
    assert {name: str(values[name]) for name in ("weights", "connections")} == {
        "weights": f"{ONE} = 3",
        "connections": "20",
    }
    before = revisions.latest()
    assert admin_client.post(change_url(), {**values, "health_status": "200 204"}).status_code == 302
    assert live() == upstream
    assert revisions.latest().number == before.number


def test_what_is_left_out_is_the_default_and_what_is_emptied_becomes_it(admin_client):
    assert admin_client.post(ADD, {"name": "shop", "targets": ONE}).status_code == 302
    assert (live().balance, live().retries, live().queue, live().health.interval) == ("round_robin", 1, 100, 10)
    admin_client.post(change_url(), {**FULL, "retries": "3"})
    assert live().retries == 3
    admin_client.post(change_url(), {**FULL, "retries": "", "health_interval": "", "queue": ""})
    assert (live().retries, live().queue, live().health.interval) == (1, 100, 10)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights", ONE, "write the target"),
        ("weights", f"{ONE} = x", "write the target"),
        ("weights", "https://else.internal = 2", "is not one of the targets"),
        ("health_status", "ok", "Only whole numbers"),
        ("health_status", "99", "not a status"),
        ("health_path", "up", "must begin with /"),
        ("health_path", "", "the path of the health check is needed"),
        ("health_interval", "0", "must be at least 0.1"),
        ("queue_timeout", "0", "must be more than 0"),
        ("connections", "0", "must be from 1"),
        ("tls_client_key_file", "", "needs both"),
        ("tls_ca_file", "ca.pem", "absolute path"),
        ("tls_min_version", "1.1", "valid choice"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(admin_client, field, value, message):
    response = admin_client.post(ADD, {**FULL, field: value})
    assert message in str(response.context["adminform"].form.errors[field])
    assert not Upstream.objects.filter(name="shop").exists()


def test_the_list_and_the_page_say_how_targets_are(admin_client):
    assert "unused" in admin_client.get(reverse("admin:authgate_upstream_changelist")).content.decode()
    assert "http://127.0.0.1:8080: unused, 0 in flight" in admin_client.get(change_url("api")).content.decode()
    assert "over all workers" not in admin_client.get(ADD).content.decode()
