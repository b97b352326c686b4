"""The target that a service receives is the one that was sent."""

from __future__ import annotations

import pytest

from tests.support import raw


@pytest.mark.parametrize("query", ["", "?", "??", "?a", "?a?"])
@pytest.mark.parametrize("body", [None, b"x"], ids=["without a body", "with a body"])
def test_a_question_mark_with_nothing_behind_it_reaches_the_service(gateway, upstream, query, body):
    target = f"/api/public/x{query}"
    with gateway.connect() as client:
        for method in ("GET", "GET") if body is None else ("POST", "POST"):
            client.send(raw.request(method, target, body=body, host="localhost"))
            assert client.response(method).status == 200
    assert [request.target for request in upstream.wait(2)] == [target.encode()] * 2
