"""Logout tokens of one provider while another takes requests and answers none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.hostile import DISCOVERY, Reply
from tests.support.sessions import make_session, row, run
from tests.support.token_provider import TokenProvider


@pytest.fixture
def two_providers(start_gateway):
    """One that works; and one that takes requests, and answers none of them."""
    with TokenProvider() as honest, TokenProvider() as hanging:
        gateway = start_gateway()
        made = make_session(gateway, slug="honest", provider={"issuer": honest.issuer}, provider_sid="s-1")
        make_session(gateway, slug="hanging", provider={"issuer": hanging.issuer})
        done = threading.Event()
        hanging.answers[DISCOVERY] = lambda seen: done.wait(15) and Reply(503)
        yield gateway, honest, hanging, made
        done.set()


def post_logout(gateway, slug, token):
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    body = f"logout_token={token}".encode()
    return gateway.request(f"/auth/backchannel-logout/{slug}", method="POST", headers=form, body=body).status


def test_a_provider_that_hangs_keeps_no_logout_from_another(two_providers):
    gateway, honest, hanging, made = two_providers
    junk, real = hanging.logout_token(sid="s-9"), honest.logout_token(sid="s-1")
    with ThreadPoolExecutor(40) as strangers:
        flood = [strangers.submit(post_logout, gateway, "hanging", junk) for _ in range(40)]
        assert post_logout(gateway, "honest", real) == 200
        assert not any(request.done() and request.result() == 200 for request in flood)
    assert row(gateway, made.sid)["ended"]


def test_what_is_no_logout_token_and_who_is_disabled_has_nobody_asked(two_providers):
    gateway, _, hanging, _ = two_providers
    for junk in ("a.b.c", "x", hanging.sign({"sub": "a"}, typ="at+jwt"), hanging.unsigned({"sub": "a"})):
        assert post_logout(gateway, "hanging", junk) == 400
    run(gateway, "IdentityProvider.objects.filter(slug='hanging').update(enabled=False)")
    assert post_logout(gateway, "hanging", hanging.logout_token(sid="s-9")) == 400
    assert hanging.seen == []
