"""An application on a host of its own that reads the codes which arrive there, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, chromium
from tests.support.hosts import Browser, carry, gateway_of_hosts
from tests.support.scripted import answer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
PAGE = b"""<!doctype html><title>evil</title><script type="module">
await navigator.serviceWorker.register("/worker.js");
await navigator.serviceWorker.ready;
document.title = "ready";
</script>"""
# It answers the visit in the gateway's place and shows the address, so that the code is not used up.
WORKER = b"""
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => {
  if (new URL(event.request.url).pathname === "/auth/arrive") event.respondWith(new Response(event.request.url));
});
"""


@pytest.fixture
def gateway(gateway_template, upstream, tmp_path, openid):
    with gateway_of_hosts(tmp_path, gateway_template, upstream.target, openid) as gateway:
        yield gateway


def test_a_service_worker_that_keeps_a_code_gets_into_its_own_host_alone(gateway, upstream):
    upstream.reply(answer("Content-Type: text/html", body=PAGE), path="/evil")
    upstream.reply(answer("Content-Type: text/javascript", body=WORKER), path="/worker.js")
    attacker = Browser(gateway)
    departure = attacker.send(f"{attacker.wiki}/auth/login").location
    with chromium() as browser:
        victim = browser.new_page()
        victim.goto(f"{attacker.wiki}/evil")
        victim.get_by_role("button", name="alice").click()
        expect(victim).to_have_title("ready")
        victim.goto(departure)
        arrival = victim.inner_text("body")
    assert arrival.startswith(f"{attacker.wiki}/auth/arrive?code=")
    assert attacker.send(arrival).status == 302
    stolen = attacker.cookie_of("wiki.localhost")
    where = (attacker.wiki, attacker.git, attacker.public)
    assert [carry(attacker, origin, stolen).status for origin in where] == [200, 401, 401]
