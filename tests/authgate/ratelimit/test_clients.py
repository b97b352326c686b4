from __future__ import annotations

import pytest

from authgate.ratelimit import client_key

SAME = {
    "one /64": ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
    "mapped IPv4": ("192.0.2.7", "::ffff:192.0.2.7"),
    "mapped IPv4 in hex": ("192.0.2.7", "::ffff:c000:207"),
    "spelling": ("2001:DB8:0:0:1::", "2001:db8::1:0:0:0"),
}

APART = {
    "IPv4 neighbours": ("192.0.2.7", "192.0.2.8"),
    "neighbouring /64": ("2001:db8:1:2::1", "2001:db8:1:3::1"),
    "IPv4 and the IPv6 block of mapped addresses": ("192.0.2.7", "::1"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_addresses_of_one_client_share_a_key(one, other):
    assert client_key(one) == client_key(other)


@pytest.mark.parametrize(("one", "other"), APART.values(), ids=APART)
def test_addresses_of_two_clients_do_not(one, other):
    assert client_key(one) != client_key(other)


def test_the_key_of_an_ipv6_client_names_its_block():
    assert client_key("2001:db8:1:2::1") == "2001:db8:1:2::/64"


def test_the_peer_of_a_unix_socket_is_one_client():
    assert client_key("") == ""
