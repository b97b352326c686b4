"""Answers whose head is byte for byte one that came before: taken for the same only when they are."""

from __future__ import annotations

import pytest

from tests.support.scripted import Kept, Script, ThenClose, answer, assert_refusal

HEAD = ("X-Same: 1", "Content-Type: text/plain")
HELLO = answer(*HEAD, body=b"hello")


def prime(gateway, upstream) -> None:
    """The same answer until the gateway has met it."""
    upstream.reply(Kept(HELLO))
    for _ in range(3):
        assert gateway.get("/api/public/x").body == b"hello"


def test_the_body_is_this_answers_own(gateway, upstream):
    prime(gateway, upstream)
    upstream.reply(Kept(answer(*HEAD, body=b"world")))
    response = gateway.get("/api/public/x")
    assert (response.status, response.body, response.header("x-same")) == (200, b"world", "1")


@pytest.mark.parametrize("cut", [1, len(HELLO) - 6, len(HELLO) - 5, len(HELLO) - 1])
def test_it_may_come_in_pieces(gateway, upstream, cut):
    prime(gateway, upstream)
    upstream.reply(Script(HELLO[:cut], HELLO[cut:]))
    assert gateway.get("/api/public/x").body == b"hello"


@pytest.mark.parametrize("body", [b"", b"hello world", b"hell"])
def test_another_length_is_another_head(gateway, upstream, body):
    prime(gateway, upstream)
    upstream.reply(Kept(answer(*HEAD, body=body)))
    assert gateway.get("/api/public/x").body == body


@pytest.mark.parametrize("extra", [b"x", HELLO])
def test_what_follows_it_reaches_nobody(gateway, upstream, extra):
    prime(gateway, upstream)
    upstream.reply(Kept(HELLO + extra))
    assert gateway.get("/api/public/x").body == b"hello"
    first = upstream.requests[-1].connection
    upstream.reply(Kept(answer(body=b"second")))
    assert gateway.get("/api/public/x").body == b"second"
    assert upstream.requests[-1].connection != first


def test_an_answer_to_head_has_no_body(gateway, upstream):
    prime(gateway, upstream)
    upstream.reply(Kept(HELLO[:-5]))
    response = gateway.request("/api/public/x", method="HEAD")
    assert (response.status, response.header("content-length"), response.body) == (200, "5", b"")
    upstream.reply(Kept(HELLO))
    assert gateway.get("/api/public/x").body == b"hello"


def test_a_body_in_answer_to_head_is_no_second_answer(gateway, upstream):
    prime(gateway, upstream)
    upstream.reply(Kept(HELLO))
    assert gateway.request("/api/public/x", method="HEAD").body == b""
    first = upstream.requests[-1].connection
    assert gateway.get("/api/public/x").body == b"hello"
    assert upstream.requests[-1].connection != first


def test_an_interim_answer_before_it_is_no_part_of_it(gateway, upstream):
    prime(gateway, upstream)
    upstream.reply(Kept(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO))
    for _ in range(2):
        response = gateway.get("/api/public/x")
        assert (response.status, response.body, response.header("link")) == (200, b"hello", None)


def test_half_a_known_head_is_no_answer(gateway, upstream):
    prime(gateway, upstream)
    upstream.reply(ThenClose(HELLO[:-6]))
    assert_refusal(gateway.get("/api/public/x"), 502)


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error"])
def test_the_status_is_part_of_the_head(gateway, upstream, status):
    prime(gateway, upstream)
    upstream.reply(Kept(answer(*HEAD, body=b"hello", status=status)))
    assert gateway.get("/api/public/x").status == int(status[:3])


def test_its_headers_are_finished_for_each_caller(gateway, upstream):
    prime(gateway, upstream)
    assert gateway.get("/api/public/x").header("cache-control") is None
    private = gateway.get("/api/protected/x", token=gateway.mint("ann"))
    assert private.header("cache-control") == "private"


def test_a_bad_head_is_refused_each_time(gateway, upstream):
    upstream.reply(Kept(answer("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")))
    for _ in range(3):
        assert_refusal(gateway.get("/api/public/x"), 502)


def test_a_cookie_of_one_answer_is_in_no_other(gateway, upstream):
    for value in ("a", "b", "b"):
        upstream.reply(Kept(answer(*HEAD, f"Set-Cookie: id={value}", body=b"hello")))
        assert gateway.get("/api/public/x").all("set-cookie") == [f"id={value}"]
