"""Programs that ask for a page of people: a 401 that each of them understands, and never a page to sign in on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest

from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import run

PATH = "/api/protected/repository"
PROVIDER = """
IdentityProvider.objects.create(
    slug="idp", client_id="gateway", issuer="https://idp.example", require_verified_email=False
)
"""
# Go is rarely installed beside Python. These are its headers of every request.
GO = [("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip")]
JAVA = """
import java.net.*;
import java.net.http.*;

class Ask {
    public static void main(String[] asked) throws Exception {
        URI uri = URI.create(asked[0]);
        HttpURLConnection old = (HttpURLConnection) uri.toURL().openConnection();
        show(old.getResponseCode(), old.getHeaderField("Content-Type"), old.getURL());
        HttpClient client = HttpClient.newBuilder().followRedirects(HttpClient.Redirect.ALWAYS).build();
        HttpRequest request = HttpRequest.newBuilder(uri).build();
        HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        show(answer.statusCode(), answer.headers().firstValue("content-type").get(), answer.uri());
    }

    static void show(Object... facts) {
        System.out.println(String.format("%s %s %s", facts));
    }
}
"""


@pytest.fixture(scope="module")
def gateway(gateway_template, session_upstream, tmp_path_factory):
    """A provider is set up: people are led to it."""
    data_dir, policy = tmp_path_factory.mktemp("clients") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy) as gateway:
        run(gateway, PROVIDER)
        yield gateway.start()


@pytest.fixture
def page(gateway):
    browser = gateway.get(PATH, headers=[("Sec-Fetch-Mode", "navigate")])
    assert browser.header("location") == f"/auth/login?next={PATH}"
    return f"{gateway.url}{PATH}"


def call(*command, **options):
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("accept", ["*/*", "text/html;q=0.01, */*"])
def test_curl(page, accept):
    done = call("curl", "-sSL", "-H", f"Accept: {accept}", "-w", "%{http_code} %{num_redirects} %{content_type}", page)
    assert done.stdout.endswith("401 0 application/json")
    assert '"reason": "no_credential"' in done.stdout


def test_curl_with_a_password(page):
    done = call(
        "curl", "-sSL", "-u", "x:y", "-H", "Accept: text/html", "-o", "-", "-w", "%{http_code} %{num_redirects}", page
    )
    assert done.stdout.endswith("401 0")


def test_wget(page, tmp_path):
    done = call("wget", "--no-proxy", "-t", "1", "-O", str(tmp_path / "page"), page)
    assert done.returncode == 6  # its code for a failed authentication
    assert "401 Unauthorized" in done.stderr
    assert "/auth/login" not in done.stderr


def test_git(page):
    done = call(
        "git", "-c", "credential.helper=", "ls-remote", page, env={"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"}
    )
    assert done.returncode == 128
    assert "could not read Username" in done.stderr  # what it says of a 401 when it may not ask


def test_pip(gateway, page, tmp_path):
    options = ["--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "-d", str(tmp_path)]
    done = call(sys.executable, "-m", "pip", "download", *options, "--index-url", page, "nothing")
    assert "No matching distribution found for nothing" in done.stderr
    # pip tells nobody the status, so the access log does. A redirect would have been followed.
    deadline = time.monotonic() + 10
    while '/nothing/","status":' not in gateway.output and time.monotonic() < deadline:
        time.sleep(0.05)
    assert '/nothing/","status":401' in gateway.output
    assert '"path":"/auth/login"' not in gateway.output


def test_java(page, tmp_path):
    source = tmp_path / "Ask.java"
    source.write_text(JAVA)
    done = call("java", "-XX:TieredStopAtLevel=1", str(source), page)
    assert done.stdout.splitlines() == [f"401 application/json {page}"] * 2, done.stderr


def test_what_go_sends(gateway, page):
    refused = gateway.get(PATH, headers=GO)
    assert (refused.status, refused.header("location"), refused.json()["reason"]) == (401, None, "no_credential")
