"""WebSockets, event streams and uploads: a service by Node's `ws`, with Node, Python and Chromium as clients."""

from __future__ import annotations

import json
import os
import threading

import pytest
from playwright.sync_api import Page
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.applications.stage import FORGED, Stage

CHAPTER = "A service of your own with WebSockets, events and uploads"
ENVIRONMENT = "ws"
HOST = "localhost"
BIG = 3_000_000
NODE_CLIENT = """\
const WebSocket = require("ws");
const [url, token] = process.argv.slice(2);
const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
const big = require("crypto").randomBytes(%d);
const seen = { compressed: null, ponged: false, same: false };
let number = 0;
socket.on("pong", (data) => (seen.ponged = data.toString() === "are you there?"));
socket.on("message", (message, binary) => {
  if (number++ === 0) {
    seen.hello = message.toString();
    seen.compressed = socket.extensions;
    socket.ping("are you there?");
    socket.send(big);
  } else {
    seen.same = binary && message.equals(big);
    socket.send("end");
  }
});
socket.on("close", (code, reason) => console.log(JSON.stringify({ ...seen, code, reason: reason.toString() })));
socket.on("unexpected-response", (_, response) => { console.log(response.statusCode); process.exit(0); });
"""
IN_CHROMIUM = {
    "socket": """url => new Promise((resolve, reject) => {
        const socket = new WebSocket(url), seen = [];
        socket.binaryType = "arraybuffer";
        socket.onmessage = ({ data }) => {
            seen.push(data.byteLength ?? data);
            if (seen.length === 1) socket.send(new Uint8Array(3000000));
            else socket.send("end");
        };
        socket.onerror = reject;
        socket.onclose = ({ code, reason }) => resolve([...seen, code, reason]);
    })""",
    "open": """url => new Promise(resolve => {
        const socket = new WebSocket(url);
        socket.onopen = socket.onerror = event => resolve(event.type);
    })""",
    "events": """url => new Promise(resolve => {
        const source = new EventSource(url), seen = [];
        source.onmessage = ({ data, lastEventId }) => {
            seen.push([data, lastEventId]);
            if (seen.length === 3) { source.close(); resolve(seen); }
        };
    })""",
    "upload": """async url => {
        const body = new Blob([new Uint8Array(20000000)]);
        return (await fetch(url, { method: "PUT", body })).text();
    }""",
}


@pytest.fixture(scope="module")
def token(stage: Stage) -> str:
    return stage.token("ci", "member")


def address(stage: Stage) -> str:
    return stage.gateway.url.replace("https", "wss") + "/live/socket"


# --- programs ---------------------------------------------------------------------------------------------------
def node(stage: Stage, token: str) -> str:
    (stage.directory / "client.js").write_text(NODE_CLIENT % BIG)
    return stage.run(f"node client.js {address(stage)} {token}").stdout


def test_ws_of_node_sends_compressed_pings_and_is_closed(stage: Stage, token: str) -> None:
    assert json.loads(node(stage, token)) == {
        "compressed": "permessage-deflate", "ponged": True, "same": True, "hello": "hello service|ci", "code": 4000,
        "reason": "as you like",
    }  # fmt: skip


def test_ws_of_node_is_refused_without_the_role(stage: Stage) -> None:
    assert node(stage, stage.token("other")) == "403\n"


def test_websockets_of_python_does_the_same(stage: Stage, token: str) -> None:
    big = os.urandom(BIG)
    with connect(
        address(stage),
        additional_headers={**FORGED, "Authorization": f"Bearer {token}"},
        max_size=None,
        ssl=stage.gateway.trust,
        proxy=None,
    ) as client:
        assert client.recv() == "hello service|ci"
        client.send(big)
        assert client.recv() == big
        assert client.ping().wait(5)
        client.send("end")
        with pytest.raises(Exception, match="as you like"):
            client.recv()
    assert client.close_code == 4000


def test_websockets_of_python_is_refused_without_a_token(stage: Stage) -> None:
    with pytest.raises(InvalidStatus, match="401"):
        connect(address(stage), additional_headers=FORGED, ssl=stage.gateway.trust, proxy=None)


def test_a_revoked_token_ends_it_within_two_seconds(stage: Stage) -> None:
    token = stage.token("short", "member")
    headers = {"Authorization": f"Bearer {token}"}
    with connect(address(stage), additional_headers=headers, ssl=stage.gateway.trust, proxy=None) as client:
        assert client.recv() == "hello service|short"
        threading.Timer(0.1, stage.gateway.manage, ["service_token", "revoke", "short"]).start()
        with pytest.raises(Exception, match="4401"):
            client.recv(timeout=10)


# --- Chromium ---------------------------------------------------------------------------------------------------
def test_a_page_opens_a_websocket(stage: Stage, page: Page) -> None:
    stage.open(page, "/live/")
    seen = page.evaluate(IN_CHROMIUM["socket"], address(stage))
    assert seen == ["hello main|alice", BIG, 4000, "as you like"]


def test_a_page_reads_events_as_they_come(stage: Stage, page: Page) -> None:
    stage.open(page, "/live/", "bob")
    assert page.evaluate(IN_CHROMIUM["events"], "/live/events") == [[f"main|bob {n}", str(n)] for n in (1, 2, 3)]


def test_a_page_uploads(stage: Stage, page: Page) -> None:
    stage.open(page, "/live/")
    assert page.evaluate(IN_CHROMIUM["upload"], "/live/file") == "main|alice 20000000"


def test_a_page_of_another_site_opens_no_websocket(stage: Stage, page: Page) -> None:
    stage.open(page, "/live/")
    page.goto(f"{stage.openid.issuer}/.well-known/openid-configuration")
    assert page.evaluate(IN_CHROMIUM["open"], address(stage)) == "error"
    [*_, line] = stage.gateway.log_lines(path="/live/socket", wait_for=1)
    assert line["reason"] in ("cross_site", "no_credential")


@pytest.mark.parametrize("path", ["", "events", "socket", "file"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(f"/live/{path}")
