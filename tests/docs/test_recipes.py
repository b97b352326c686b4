"""What the docs advise, done as they say."""

from __future__ import annotations

import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.agent import Agent
from tests.support.certificates import make_certificates
from tests.support.gateway import ROOT, Gateway, environment, manage
from tests.support.oidc import CLIENT_SECRET
from tests.support.policies import demo_policy
from tests.support.scripted import answer
from tests.support.upstream import RecordingUpstream

PAGE = "/api/protected/page"
PREFLIGHT = [
    ("Origin", "https://app.example.com"),
    ("Access-Control-Request-Method", "GET"),
    ("Access-Control-Request-Headers", "authorization"),
]


@pytest.fixture
def data_dir(gateway_template, tmp_path):
    return shutil.copytree(gateway_template, tmp_path / "data")


# --- a preflight ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def preflight(gateway_template, session_upstream, tmp_path_factory):
    """With the policy that docs/policy.md prints."""
    section = (ROOT / "docs" / "policy.md").read_text().partition("### CORS")[2]
    text = re.search(r"```yaml\n(.+?)```", section, re.DOTALL)[1]
    policy = text.replace("http://127.0.0.1:8080", session_upstream.target)
    with Gateway(tmp_path_factory.mktemp("preflight") / "data", template=gateway_template, policy=policy) as gateway:
        yield gateway.start()


def test_a_preflight_is_answered_by_the_gateway(preflight, upstream):
    told = preflight.request("/api/items", method="OPTIONS", headers=PREFLIGHT)
    assert (told.status, told.header("access-control-allow-origin")) == (204, "https://app.example.com")
    assert upstream.requests == []


def test_the_request_after_it_is_decided_as_before(preflight):
    assert preflight.get("/api/items").status == 401
    assert preflight.get("/api/items", token=preflight.mint("alice")).status == 200


# --- parameters of a provider's own ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def asking(gateway_template, session_upstream, openid, tmp_path_factory):
    """A gateway and a provider that is told to ask, each time, who it is."""
    policy = demo_policy(session_upstream.target)
    with Gateway(tmp_path_factory.mktemp("asking") / "data", template=gateway_template, policy=policy) as gateway:
        client_id, secret = openid.client(gateway.url)
        openid.start()
        gateway.manage(
            "provider", "add", "main", "--issuer", openid.issuer, "--client-id", client_id,
            "--client-secret", secret, "--authorization-endpoint",
            f"{openid.issuer}/auth?prompt=login&domain_hint=example.com",
        )  # fmt: skip
        yield gateway.start()


def test_the_query_of_an_authorization_endpoint_is_kept_beside_the_gateway_s_own(asking):
    location = Agent().send(f"{asking.url}/auth/login?next={PAGE}").location
    query = parse_qs(urlsplit(location).query)
    assert (query["prompt"], query["domain_hint"]) == (["login"], ["example.com"])
    assert {"client_id", "redirect_uri", "state", "nonce", "code_challenge"} < query.keys()
    assert [name for name, values in query.items() if len(values) > 1] == []


def test_with_a_prompt_the_provider_asks_somebody_it_knows(asking):
    agent = Agent()
    assert agent.sign_in(asking.url + PAGE).status == 200
    for cookie in [cookie for cookie in agent.jar if cookie.domain.startswith("localhost")]:
        agent.jar.clear(cookie.domain, cookie.path, cookie.name)  # the gateway's: the provider still knows them
    assert "Who are you?" in agent.open(asking.url + PAGE).text


@pytest.mark.parametrize("name", ["state", "redirect_uri", "nonce", "scope", "client_id"])
def test_a_parameter_of_the_gateway_s_own_is_refused_there(data_dir, name):
    added = manage(
        environment(data_dir), "provider", "add", "main", "--issuer", "https://idp.example", "--client-id", "c",
        "--client-secret", CLIENT_SECRET, "--authorization-endpoint", f"https://idp.example/auth?{name}=theirs",
    )  # fmt: skip
    assert added.returncode == 1
    assert f"--authorization-endpoint: must not have {name}" in added.stderr


# --- an authority of one's own --------------------------------------------------------------------------------
@pytest.fixture
def private(tmp_path):
    return make_certificates(tmp_path)


@pytest.fixture
def service(private):
    with RecordingUpstream(tls=private.server_context()) as upstream:
        yield upstream


def policy_of(service):
    return (
        f'version: 1\nupstreams: {{s: {{targets: ["https://localhost:{service.port}"]}}}}\n'
        "routes: [{name: s, path: /s, access: public, upstream: s}]\n"
    )


@pytest.mark.parametrize("args", [(), ("--http2",)], ids=["http1", "http2"])
def test_a_service_with_a_certificate_of_a_private_authority_is_reached(start_gateway, service, private, args):
    gateway = start_gateway(policy=policy_of(service), args=args, env={"SSL_CERT_FILE": str(private.ca_file)})
    assert gateway.get("/s/x").status == 200
    assert len(service.requests) == 1


@pytest.mark.parametrize(("trusted", "says"), [(False, "certificate"), (True, "another issuer")])
def test_the_same_file_counts_for_providers(data_dir, service, private, trusted, says):
    service.reply(answer(body=b'{"issuer": "https://elsewhere.example"}'))
    trust = {"SSL_CERT_FILE": str(private.ca_file)} if trusted else {}
    env = environment(data_dir, **trust)
    added = manage(
        env, "provider", "add", "main", "--issuer", f"https://localhost:{service.port}", "--client-id", "c",
        "--public-client",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert says in manage(env, "provider", "test", "main").stdout


BAD_FILES = {"missing": None, "empty": b"", "no certificates": b"hello\n"}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_authorities_that_cannot_be_used_is_named(data_dir, tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    checked = manage(environment(data_dir, SSL_CERT_FILE=str(file)), "check")
    assert "authgate.W072" in checked.stderr and str(file) in checked.stderr


def test_a_file_of_authorities_is_checked_and_fine(data_dir, private):
    assert "W072" not in manage(environment(data_dir, SSL_CERT_FILE=str(private.ca_file)), "check").stderr
