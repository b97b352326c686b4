"""What the gateway takes for its own: the public URL's host and port, and every name of this machine with it."""

from __future__ import annotations

import pytest

from authgate.own_hosts import exposed_host, own_hosts, public_host, public_origin, public_port

URLS = [
    ("http://[::1]:8000", "[::1]", 8000),
    ("http://[0:0::1]:8000", "[::1]", 8000),
    ("http://app.localhost", "app.localhost", 80),
    ("https://gateway.example.com", "gateway.example.com", 443),
    ("https://gateway.example.com:8443", "gateway.example.com", 8443),
]


@pytest.mark.parametrize(("url", "host", "port"), URLS)
def test_the_public_host_and_port_have_one_reading(settings, url, host, port):
    settings.AUTHGATE_PUBLIC_URL = url
    assert (public_host(), public_port()) == (host, port)
    assert (public_origin().authority.host, public_origin().port) == (host, port)


@pytest.mark.parametrize("url", ["http://[::1]:8000", "http://app.localhost", "http://127.0.0.9:8000"])
def test_a_gateway_of_this_machine_has_each_of_its_names_and_is_not_exposed(settings, url):
    settings.AUTHGATE_PUBLIC_URL = url
    assert own_hosts() == {public_host(), "localhost", "127.0.0.1", "[::1]"}
    assert exposed_host() is None


def test_a_gateway_for_others_has_its_own_name_alone(settings):
    settings.AUTHGATE_PUBLIC_URL = "https://gateway.example.com"
    assert own_hosts() == {"gateway.example.com"}
    assert exposed_host() == "gateway.example.com"
