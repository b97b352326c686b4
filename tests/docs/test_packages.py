"""The image's file, the Compose file and the manifests of Kubernetes, and what docs/packages.md does for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.server.health import ALIVE
from tests.docs.test_servers_beside import valkey as run_valkey
from tests.support.gateway import ROOT, Gateway, environment, free_port, manage
from tests.support.policies import demo_policy

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").iterdir() if path.name != "kustomization.yaml")
BIN = Path(sys.executable).parent


def objects() -> list[dict[str, Any]]:
    return [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (found for found in objects() if found["kind"] == kind)
    return found


def pods() -> dict[str, Any]:
    return {kind: of_kind(kind)["spec"]["template"]["spec"] for kind in ("Deployment", "Job")}


def checked(*command: str) -> str:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- the image
def test_hadolint_finds_nothing_in_the_images_file():
    assert checked("hadolint", "deploy/container/Containerfile") == ""


def test_the_image_installs_nothing_without_its_hash():
    text = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", "")
    installs = [line.split("&&")[0] for line in re.findall(r"pip\b[^&]* install [^&\n]*", text)]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_what_the_image_copies_is_sent_to_the_builder():
    """.dockerignore leaves everything else out."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = (DEPLOY / "container" / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE) for word in line.split()[:-1]}
    assert copied
    assert {"requirements*.txt" if word.startswith("requirements") else word for word in copied} == sent


def is_healthy(url: str) -> bool:
    command = [sys.executable, DEPLOY / "container" / "healthy.py", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode == 0


def test_the_health_check_knows_a_gateway_that_answers(gateway):
    assert is_healthy(f"http://127.0.0.1:{gateway.port}{ALIVE}")
    assert not is_healthy(f"http://127.0.0.1:{gateway.port}/nowhere")
    assert not is_healthy(f"http://127.0.0.1:{free_port()}{ALIVE}")
    assert not is_healthy(f"https://127.0.0.1:{gateway.port}{ALIVE}")


def test_the_health_check_reads_no_certificate(start_gateway, certificates):
    tls = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
    gateway = start_gateway(args=tls, tls=True)
    assert is_healthy(f"https://127.0.0.1:{gateway.port}{ALIVE}")


# --- Compose
def test_the_compose_file_is_one():
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_every_container_of_it_has_a_read_only_root_no_capability_and_a_user():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"gateway", "migrate", "postgres", "valkey"}
    for name, service in services.items():
        hardened = (service["read_only"], service["cap_drop"], service["security_opt"])
        assert (name, *hardened) == (name, True, ["ALL"], ["no-new-privileges:true"])
        assert "user" in service or "authgate" in service["image"]  # which names its own


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """As the page makes them."""
    (tmp_path / "deploy").mkdir()
    [block] = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "packages.md").read_text(), re.DOTALL)
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    return tmp_path / "deploy" / "secrets"


def test_its_secrets_are_those_that_the_page_makes(secrets):
    wanted = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["secrets"]
    assert {Path(one["file"]).name for one in wanted.values()} - {"tls_cert", "tls_key"} == {
        path.name for path in secrets.iterdir()
    }
    assert secrets.stat().st_mode & 0o777 == 0o700
    password = (secrets / "postgres_password").read_text().strip()
    assert (secrets / "database_url").read_text() == f"postgresql://authgate:{password}@postgres/authgate\n"


def test_the_gateway_uses_valkey_with_them(secrets, upstream, tmp_path):
    with run_valkey("bind 127.0.0.1\n" + (secrets / "valkey_conf").read_text(), tmp_path) as port:
        url = secrets / "redis_url"
        url.write_text(url.read_text().replace("@valkey:6379", f"@127.0.0.1:{port}"))
        env = {"AUTHGATE_SECRET_KEY_FILE": str(secrets / "secret_key"), "AUTHGATE_REDIS_URL_FILE": str(url)}
        limited = demo_policy(upstream.target).replace(
            "routes:", "rate_limits:\n  few: {rate: 1/h, burst: 2, per: client}\nroutes:", 1
        )
        policy = limited.replace("access: public,", "access: public, rate_limit: few,")
        with Gateway(tmp_path / "data", policy=policy, env=env) as gateway:
            gateway.start()
            assert [gateway.get("/api/public/x").status for _ in range(3)] == [200, 200, 429]
            assert "authgate.ratelimit" not in gateway.output


# --- Kubernetes
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_valid_to_the_letter(path):
    said = checked("kubernetes-validate", "--strict", str(path))
    assert "passed" in said
    assert "WARN" not in said


def test_all_manifests_are_applied_but_the_one_for_other_namespaces():
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "protected.yaml"} == {path.name for path in MANIFESTS}


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_meet_the_restricted_standard_with_a_read_only_root(kind):
    pod = pods()[kind]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert all({"emptyDir", "secret", "configMap"} & volume.keys() for volume in pod["volumes"])
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_probes_ask_what_stays_well_while_the_database_is_away():
    [container] = pods()["Deployment"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == ALIVE


def test_a_pod_has_the_time_to_drain():
    pod = pods()["Deployment"]
    [container] = pod["containers"]
    drain = int(of_kind("ConfigMap")["data"].get("AUTHGATE_DRAIN_SECONDS", 30))
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain


def pod_environment(volume: Path, secrets: Path) -> dict[str, str]:
    data = of_kind("ConfigMap")["data"]
    mounted = {"/var/lib/authgate": str(volume), "/run/secrets/authgate": str(secrets)}
    for place, here in mounted.items():
        data = {name: value.replace(place, here) for name, value in data.items()}
    return environment(volume, **data)


def write_secrets(directory: Path, **values: str) -> Path:
    directory.mkdir()
    for name, value in {**of_kind("Secret")["stringData"], **values}.items():
        (directory / name).write_text(value)
    return directory


def test_a_pod_keeps_its_data_to_itself_on_a_volume_that_is_open(postgres, valkey, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2777)
    values = {"secret-key": "s" * 40, "database-url": postgres.create_database(), "redis-url": valkey.url}
    env = pod_environment(volume, write_secrets(tmp_path / "secrets", **values))
    assert manage(env, "migrate", "--verbosity=0").returncode == 0
    checked = manage(env, "check")
    assert checked.returncode == 0, checked.stderr
    assert (volume / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("left", ["secret-key", "database-url", "redis-url"])
def test_nothing_starts_with_a_secret_that_was_not_changed(left, tmp_path):
    values = {"secret-key": "s" * 40, "database-url": "postgresql://db/authgate", "redis-url": "redis://valkey/0"}
    del values[left]
    (tmp_path / "volume").mkdir()
    env = pod_environment(tmp_path / "volume", write_secrets(tmp_path / "secrets", **values))
    refused = manage(env, "migrate")
    assert refused.returncode == 1
    assert f"AUTHGATE_{left.upper().replace('-', '_')}" in refused.stderr
