"""An application sets more cookies than the gateway accepts: people see why, and get out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from proxy.server.http1.cookies import MAX_LINES_BYTES, MAX_NAMES_BYTES, MAX_PAIRS, CookieNames, OversizedHead
from tests.support import raw
from tests.support.browser import CHROMIUM, chromium
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.scripted import answer
from tests.support.sessions import make_session
from tests.support.streams import wait_until

SERVERS = {"http/1.1": (), "http/2": ("--http2",)}
ours_only = pytest.mark.parametrize("gateway", ["http/1.1"], indirect=True)
PAGE = ("Accept", "text/html")
DELETE_ALL = "/auth/logout?cookies=all"
BOMB = "; ".join(f"bomb{number}={'x' * 4000}" for number in range(5))


@pytest.fixture(scope="module", params=SERVERS)
def gateway(request, gateway_template, session_upstream, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("cookies") / "data"
    policy = demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, args=SERVERS[request.param]) as gateway:
        gateway.start()
        gateway.settle()
        yield gateway


def expired(response):
    """(name, path, domain) of every cookie that the answer ends."""
    found = set()
    for line in response.all("set-cookie"):
        pair, *attributes = line.split("; ")
        named = dict(attribute.partition("=")[::2] for attribute in attributes)
        assert named["Max-Age"] == "0"
        found.add((pair.partition("=")[0], named["Path"], named.get("Domain", "")))
    return found


@pytest.mark.parametrize("path", ["/auth/logout", "/api/public/x", "/none"])
def test_the_answer_names_the_cookies_and_ends_them(gateway, path):
    response = gateway.get(path, headers=[PAGE, ("Cookie", BOMB)])
    assert response.status == 431
    assert "<code>bomb0</code>" in response.text
    assert f'href="{path}"' in response.text
    assert {(f"bomb{number}", "/", "") for number in range(5)} <= expired(response)
    assert response.header("content-security-policy")


def test_a_local_administrator_who_is_signed_out_by_it_is_told(gateway):
    told = gateway.get("/none", headers=[PAGE, ("Cookie", f"authgate_admin=x; {BOMB}")])
    assert ("authgate_admin", "/", "") in expired(told)
    assert "no longer signed in to /admin/" in told.text and "still signed in here" not in told.text
    assert "still signed in here" in gateway.get("/none", headers=[PAGE, ("Cookie", BOMB)]).text


def test_a_program_gets_json_and_the_same_cookies_ended(gateway):
    response = gateway.get("/api/public/x", headers=[("Cookie", BOMB)])
    assert (response.status, response.json()["reason"]) == (431, "cookies_too_large")
    assert ("bomb4", "/", "") in expired(response)


def test_each_path_above_the_request_and_each_domain_above_the_host_is_tried(gateway):
    response = gateway.request("/a/b/c?q", host="x.gw.test", headers=[("Cookie", BOMB)])
    places = {(path, domain) for name, path, domain in expired(response) if name == "bomb1"}
    paths, domains = ("/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c"), ("", "x.gw.test", "gw.test")
    assert places == {(path, domain) for path in paths for domain in domains}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_host_with_no_domain_above_it_has_no_other_place(gateway, host):
    response = gateway.request("/", host=host, headers=[("Cookie", BOMB)])
    assert {domain for _, _, domain in expired(response)} == {""}


def test_the_sessions_own_cookie_is_spared_once(gateway):
    once = gateway.get("/", headers=[("Cookie", f"auth_token=a.b.c; {BOMB}")])
    assert not [name for name, _, _ in expired(once) if name == "auth_token"]
    twice = gateway.get("/", headers=[("Cookie", f"auth_token=a.b.c; {BOMB}; auth_token={'x' * 4000}")])
    assert ("auth_token", "/", "") in expired(twice)


def test_a_cookie_without_a_name_ends_too(gateway):
    response = gateway.get("/", headers=[("Cookie", f"{'x' * 4000}; {BOMB}")])
    assert "=x; Max-Age=0; Path=/" in response.all("set-cookie")


@pytest.mark.parametrize(
    ("target", "again"),
    [
        ("/a?b=c&d", "/a?b=c&amp;d"),
        ("//evil.test/", "/"),
        ("/\\evil.test", "/"),
        ("/%22%3E", "/%22%3E"),
        ("/'x", "/&#x27;x"),
    ],
)
def test_the_way_on_is_a_path_of_this_host(gateway, target, again):
    assert f'class="button" href="{again}"' in gateway.get(target, headers=[PAGE, ("Cookie", BOMB)]).text


def test_names_are_text_on_the_page(gateway):
    response = gateway.get("/", headers=[PAGE, ("Cookie", f"<script>alert(1)</script>={'x' * 5000}; {BOMB}")])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in response.text
    assert "<script" not in response.text


@pytest.mark.parametrize(
    ("site", "sent"), [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)]
)
def test_the_last_resort_deletes_everything_unless_another_site_led_there(gateway, site, sent):
    headers = [PAGE, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", site), ("Cookie", BOMB)]
    assert gateway.get(DELETE_ALL, headers=headers).all("clear-site-data") == (['"cookies"'] if sent else [])
    assert gateway.get("/auth/logout", headers=headers).all("clear-site-data") == []


def test_without_too_many_cookies_the_last_resort_is_the_sign_out_page(gateway):
    headers = [PAGE, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", "none")]
    response = gateway.get(DELETE_ALL, headers=headers)
    assert (response.status, response.all("clear-site-data")) == (200, [])


def test_cookies_below_the_limit_are_none_of_our_business(gateway, upstream):
    assert gateway.get("/api/public/x", headers=[("Cookie", BOMB[:16_000])]).status == 200
    assert upstream.only.header("cookie") == BOMB[:16_000]


def test_another_header_that_is_too_long_ends_no_cookie(gateway):
    response = gateway.get("/", headers=[("Cookie", "a=1"), ("X-Long", "x" * 17_000)])
    assert (response.status, response.all("set-cookie")) == (431, [])


@ours_only
def test_nothing_behind_such_a_request_is_a_request(gateway, upstream):
    with gateway.connect() as client:
        client.send(raw.request(headers=[("Cookie", BOMB)]) + raw.request(target="/api/public/behind"))
        assert client.response().status == 431
        assert client.is_closed()
    assert upstream.requests == []


@ours_only
@pytest.mark.parametrize("size", [1, 1009, 65536])
def test_a_browsers_greatest_load_of_cookies_is_read_to_its_end(gateway, size):
    cookies = "; ".join(f"bomb{number}={'x' * 4000}" for number in range(180))
    data = raw.request(headers=[("Cookie", cookies), PAGE])
    with gateway.connect() as client:
        for start in range(0, len(data), max(size, 1009)):
            client.send(data[start : start + max(size, 1009)])
        response = client.response()
    assert response.status == 431
    assert sum(map(len, response.all("set-cookie"))) <= MAX_LINES_BYTES


@ours_only
def test_a_head_without_end_is_given_up(gateway):
    with gateway.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a=" + b"x" * 20_000)
        for _ in range(20):
            client.send(b"x" * 65536)
        assert client.response().status == 431


def test_names_are_kept_within_bounds():
    names = CookieNames()
    for number in range(5000):
        names.feed(b"%d%b=1;" % (number, b"n" * 300))
    assert sum(map(len, names.end())) <= MAX_NAMES_BYTES
    many = CookieNames()
    many.feed(b";".join(b"%d=1" % number for number in range(MAX_PAIRS + 500)))
    assert len(many.end()) == MAX_PAIRS


HEAD = (b"GET /x HTTP/1.1\r\nHost: a.test\r\n", b"Cookie: a=1; b\rc=2; d\ne=3; f\0=4;g=5 ;\th\t=\r\nX: y\r\n\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_no_control_character_of_a_name_is_written_back(size):
    before, rest = HEAD
    head = OversizedHead(before, rest[:8])
    pieces = [rest[start : start + size] for start in range(8, len(rest), size)]
    assert [head.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    lines = [value for name, value in head.refusal().headers if name == b"set-cookie"]
    assert {line.partition(b"=")[0] for line in lines} == {b"a", b"g", b"h"}


# --- in a browser --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def window(browser):
    return browser.new_page()


@pytest.fixture
def page(window, upstream):
    return as_new(window, upstream)


def as_new(window, upstream):
    """Without any cookie. All services answer with a page."""
    upstream.reply(answer("Content-Type: text/html", body=b"<h1>app</h1>"))
    window.context.clear_cookies()
    return window


PATHS = {
    "bomb": "/", "auth": "/auth", "logout": "/auth/logout", "dashboard": "/dashboard", "app": "/api/public/app",
    "elsewhere": "/elsewhere",
}  # fmt: skip
HEADING = "This site has stored more cookies in your browser than the gateway accepts."


def lay_cookies(page, gateway, **counts):
    """As the script of an application on the same host would. `counts`: how many, by their name, of the paths."""
    page.goto(f"{gateway.url}/api/public/app")
    page.evaluate(
        """(laid) => { for (const [name, path, count] of laid) for (let n = 0; n < count; n++)
            document.cookie = `${name}${n}=${"x".repeat(4000)}; Path=${path}` }""",
        [[name, PATHS[name], count] for name, count in counts.items()],
    )
    # The browser stores them behind the script's back: what it asks for next may go without the last ones.
    cookies = page.context.cookies
    laid = sum(counts.values())
    assert wait_until(lambda: sum(len(cookie["value"]) == 4000 for cookie in cookies()) == laid, 20)


@pytest.mark.parametrize("shut", ["logout", "dashboard", "app"])
def test_a_browser_that_was_locked_out_gets_on_with_its_session(page, gateway, shut):
    context = page.context
    context.add_cookies([{"name": "auth_token", "value": make_session(gateway, "alice").cookie, "url": gateway.url}])
    # Beyond 64 KiB the server of --http2 answers by itself.
    lay_cookies(page, gateway, bomb=8, **{shut: 4})
    page.goto(gateway.url + PATHS[shut])
    expect(page.get_by_role("heading", name=HEADING)).to_be_visible()
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_role("heading", name=HEADING)).to_have_count(0)
    assert page.goto(gateway.url + "/auth/me").status == 200
    assert [cookie["name"] for cookie in context.cookies()] == ["auth_token"]


@ours_only
def test_a_browser_full_of_cookies_gets_on_after_a_few_steps(page, gateway):
    lay_cookies(page, gateway, bomb=58, auth=58, logout=58)
    page.goto(f"{gateway.url}/auth/logout")
    for _ in range(3):
        expect(page.get_by_role("heading", name=HEADING)).to_be_visible()
        page.get_by_role("link", name="Continue").click()
        page.wait_for_load_state()
        if not page.get_by_role("heading", name=HEADING).count():
            break
    expect(page.get_by_role("heading", name=HEADING)).to_have_count(0)


@pytest.fixture(scope="module", params=SERVERS)
def https_gateway(request, gateway_template, session_upstream, certificates, tmp_path_factory):
    args = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
    options = {"policy": demo_policy(session_upstream.target), "args": (*args, *SERVERS[request.param]), "tls": True}
    with Gateway(tmp_path_factory.mktemp("https") / "data", template=gateway_template, **options) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def https_window(browser, https_gateway):
    """Closed before the gateway is, which would wait for its connection."""
    with browser.new_context(ignore_https_errors=True) as context:
        yield context.new_page()


@pytest.fixture
def full(https_window, https_gateway, upstream):
    """A browser with too many cookies, and one more where no page of the gateway's own would see it."""
    page = as_new(https_window, upstream)
    lay_cookies(page, https_gateway, elsewhere=1, bomb=12 if "--http2" in https_gateway.args else 150)
    return page


def test_a_browser_gets_on_over_https(full, https_gateway):
    full.goto(f"{https_gateway.url}/dashboard")
    expect(full.get_by_role("heading", name=HEADING)).to_be_visible()
    full.get_by_role("link", name="Continue").click()
    # Between two pages no heading is there either.
    cookies = full.context.cookies
    assert wait_until(lambda: [cookie["path"] for cookie in cookies()] == ["/elsewhere"]), cookies()
    expect(full.get_by_role("heading", name=HEADING)).to_have_count(0)


def test_the_last_resort_deletes_everything_over_https(full, https_gateway):
    full.goto(https_gateway.url + DELETE_ALL)
    expect(full.get_by_text("You will have to sign in again.")).to_be_visible()
    assert full.context.cookies() == []
