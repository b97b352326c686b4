"""deploy/install.sh in whole systems, from an empty one to one on which it has never been."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.install.machine import Machine, copy_source

URL = "https://gateway.example.com"
SYSTEMS = pytest.mark.parametrize("system", ["bookworm", "trixie"])
DATA = ("etc/authgate", "var/lib/authgate")
STATUS = "stat -c '%a %U:%G %n' /etc/authgate/* /etc/authgate/tls/* /var/lib/authgate /var/lib/authgate/* /opt/authgate"

ASK = """
import http.client, json, ssl, sys
scheme, port, path = "{scheme}", {port}, "{path}"
if scheme == "https":
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=ssl._create_unverified_context())
else:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
client.request("GET", path, headers={headers})
answer = client.getresponse()
print(json.dumps([answer.status, answer.headers["location"], answer.read().decode()]))
"""


def ask(
    machine: Machine, path: str, *, scheme: str = "https", port: int = 443, **headers: str
) -> tuple[int, str | None, str]:
    answer = machine.python(ASK.format(scheme=scheme, port=port, path=path, headers=headers))
    return tuple(json.loads(answer))


def edited(tmp_path: Path, file: str, old: str, new: str) -> Path:
    """A release of which this line is another."""
    source = copy_source(tmp_path / "source")
    text = (source / file).read_text()
    assert old in text
    (source / file).write_text(text.replace(old, new, 1))
    return source


def test_a_dry_run_changes_nothing(fresh, source):
    before = fresh.files()
    with Machine(fresh, source) as machine:
        printed = machine.install("--dry-run", "--public-url", URL)
    assert "would run: useradd --system" in printed
    assert fresh.files() == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "--public-url https://gateway.example.com"),
        (("--public-url", "http://gateway.example.com"), "must begin with https://"),
        (("--public-url", "https://a b"), "is not a URL"),
        (("--public-url", URL, "--tls-cert", "/etc/hostname"), "belong together"),
        (("--public-url", URL, "--python", "/bin/false"), "is not Python 3.11 or later"),
        (("--publicurl", URL), "unknown argument --publicurl"),
        (("--public-url",), "needs a value"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_changed(installed, source, tmp_path, options, problem):
    root = installed.copy(tmp_path / "root")
    shutil.rmtree(root.path / "etc/authgate")
    with Machine(root, source) as machine:
        before = root.files()
        assert problem in machine.install(*options, check=False)
    assert root.files() == before


def test_from_an_empty_system_to_one_that_answers_and_back(fresh, source, tmp_path):
    """Twice, which changes nothing; and uninstalled, which leaves the data and what the system itself brought."""
    root = fresh.copy(tmp_path / "root")
    with Machine(root, source) as machine:
        assert "systemd does not run here" in machine.install("--public-url", URL)
        modes = machine.run("sh", "-c", STATUS)
        assert "640 root:authgate /etc/authgate/authgate.env" in modes
        assert "640 root:authgate /etc/authgate/tls/key.pem" in modes
        assert "700 authgate:authgate /var/lib/authgate\n" in modes
        assert "600 authgate:authgate /var/lib/authgate/secret_key" in modes
        first = machine.run("readlink", "/opt/authgate/current")
        again = machine.install()
        assert "is installed" in again
        assert "next" not in again
        assert machine.run("readlink", "/opt/authgate/current") == first
        assert "true" in machine.run("sh", "-c", BY_HAND)
        machine.run("sh", "/opt/authgate/current/deploy/install.sh", "uninstall")
        new = root.files() - fresh.files()
        ours = ("opt/", "usr/local/bin/", "etc/systemd/")
        assert [
            path for path in new if path.startswith(ours) or ("authgate" in path and not path.startswith(DATA))
        ] == []
        assert (root.path / "var/lib/authgate/secret_key").exists()
        machine.run("sh", "/source/deploy/install.sh", "uninstall", "--purge", "--yes")
        assert not (root.path / "var/lib/authgate").exists()
        assert "authgate" not in (root.path / "etc/passwd").read_text()


BY_HAND = f"""
python=/opt/authgate/current/.venv/bin/python
authgate serve --workers 1 --bind 127.0.0.1:8443 --tls-cert /etc/authgate/tls/cert.pem \\
    --tls-key /etc/authgate/tls/key.pem >/tmp/log 2>&1 &
for _ in $(seq 100); do
    sleep 0.2
    $python -c '{ASK.format(scheme="https", port=8443, path="/health/ready", headers={})}' 2>/dev/null && exit
done
cat /tmp/log
exit 1
"""


def test_purging_data_is_confirmed(installed, source, tmp_path):
    with Machine(installed.copy(tmp_path / "root"), source) as machine:
        printed = machine.run("sh", "/source/deploy/install.sh", "uninstall", "--purge", check=False)
        assert "confirm with --yes" in printed
        machine.run("test", "-e", "/var/lib/authgate/secret_key")


@SYSTEMS
def test_the_service_serves_under_the_real_systemd(boot, system):
    machine = boot(system=system)
    assert "authgate serves" in machine.install()
    assert ask(machine, "/health/ready")[:2] == (200, None)
    assert ask(machine, "/a?b", scheme="http", port=80)[:2] == (308, f"{URL}/a?b")
    assert machine.show("authgate", "StatusText").endswith("workers serving")
    token = machine.run("authgate", "mint_token", "alice", "--quiet").split()[-1]
    me = ask(machine, "/auth/me", Authorization=f"Bearer {token}", Host="gateway.example.com")
    assert json.loads(me[2])["subject"] == "alice"
    assert float(re.search(r"level for authgate.service: ([0-9.]+)", security(machine))[1]) < 2.0
    assert "nothing has changed" in machine.install()


def security(machine: Machine) -> str:
    return machine.run("systemd-analyze", "security", "authgate.service")


def test_every_command_runs_as_the_gateway_s_user(boot):
    machine = boot()
    machine.install("--no-start")
    machine.run("sh", "-c", "cd /root && umask 022 && authgate migrate --verbosity 0 && authgate keys rotate")
    owners = machine.run(
        "stat", "-c", "%U", *[f"/var/lib/authgate/{name}" for name in ("authgate.sqlite3", "secret_key")]
    )
    assert set(owners.split()) == {"authgate"}
    printed = machine.run("authgate", "backup", "/root/backup", check=False)
    assert "'/root/backup' cannot be written: Permission denied for the user authgate" in printed
    printed = machine.run("authgate", "policy", "import", "/root/policy.yaml", check=False)
    assert "/root/policy.yaml: Permission denied for the user authgate" in printed
    printed = machine.run("runuser", "-u", "nobody", "--", "authgate", "check", check=False)
    assert "run it as root: sudo authgate check" in printed


def test_a_challenge_of_a_certificate_authority_is_answered_and_the_hook_brings_the_certificate(boot):
    machine = boot()
    machine.install()
    place = "/opt/authgate/acme/.well-known/acme-challenge"
    machine.run("sh", "-c", f"install -d {place} && printf token.thumbprint >{place}/token")
    assert ask(machine, "/.well-known/acme-challenge/token", scheme="http", port=80)[::2] == (200, "token.thumbprint")
    assert ask(machine, "/.well-known/acme-challenge/other", scheme="http", port=80)[0] == 308
    sign = "/opt/authgate/current/.venv/bin/python /opt/authgate/current/deploy/self_signed.py renewed.example.com"
    machine.run("sh", "-c", f"install -d /tmp/live && {sign} /tmp/live/fullchain.pem /tmp/live/privkey.pem")
    machine.run("env", "RENEWED_LINEAGE=/tmp/live", "/opt/authgate/current/deploy/certbot-deploy-hook.sh")
    machine.run("sh", "-c", "sleep 5; cmp /tmp/live/privkey.pem /etc/authgate/tls/key.pem")
    served = machine.python("import ssl; print(ssl.get_server_certificate(('127.0.0.1', 443)))")
    assert served.strip() == machine.run("cat", "/tmp/live/fullchain.pem").strip()


def test_behind_a_proxy_it_speaks_plain_http_on_loopback_alone(boot):
    machine = boot()
    machine.run("rm", "/etc/authgate/authgate.env", "/etc/authgate/service.env")
    machine.install("--behind-proxy", "--public-url", URL)
    assert ask(machine, "/health/ready", scheme="http", port=8000)[0] == 200
    listening = machine.run("sh", "-c", "grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6")
    assert {line.split()[1] for line in listening.splitlines()} == {"0100007F:1F40"}


def test_a_service_whose_first_process_hangs_is_restarted_by_the_watchdog(boot):
    machine = boot()
    machine.install()
    machine.run("sh", "-c", "kill -STOP $(systemctl show --property MainPID --value authgate)")
    machine.run("sh", "-c", "timeout 90 sh -c 'until journalctl -u authgate | grep -q watchdog; do sleep 1; done'")
    assert ask(machine, "/health/ready")[0] == 200
    assert machine.show("authgate", "NRestarts") == "1"


def test_connections_wait_while_the_service_is_restarted(boot):
    machine = boot()
    machine.install()
    machine.run("systemctl", "stop", "authgate.service")
    machine.run("systemctl", "start", "--no-block", "authgate.service")
    assert ask(machine, "/health/ready")[0] == 200


@SYSTEMS
def test_a_reload_replaces_the_workers_and_ends(boot, system):
    machine = boot(system=system)
    machine.install()
    main = machine.show("authgate", "MainPID")
    before = machine.run("cat", f"/proc/{main}/task/{main}/children")
    machine.run("systemctl", "reload", "authgate")
    machine.run("sh", "-c", "sleep 5; systemctl is-active authgate")
    assert machine.show("authgate", "MainPID") == main
    assert not {*before.split()} & {*machine.run("cat", f"/proc/{main}/task/{main}/children").split()}


def add_migration(source: Path) -> None:
    """One that changes nothing, after the last one."""
    migrations = source / "authgate" / "migrations"
    last = sorted(path.stem for path in migrations.glob("0*.py"))[-1]
    lines = (
        "from django.db import migrations",
        "class Migration(migrations.Migration):",
        f"    dependencies = [('authgate', {last!r})]",
    )
    (migrations / "9999_nothing.py").write_text("\n".join(lines))


def test_an_upgrade_is_a_release_beside_the_old_one_and_saves_the_database_first(boot, tmp_path):
    source = edited(tmp_path, "pyproject.toml", 'version = "', 'version = "9.')
    add_migration(source)
    machine = boot(source)
    before = machine.run("readlink", "/opt/authgate/current")
    assert "authgate serves" in machine.install()
    after = machine.run("readlink", "/opt/authgate/current")
    assert "/releases/9.0" in after
    assert len(machine.run("ls", "/opt/authgate/releases").split()) == 2
    assert "600 authgate" in machine.run("sh", "-c", "stat -c '%a %U' /var/lib/authgate/before-9*")
    machine.run("test", "-e", before.strip())
    assert ask(machine, "/health/ready")[0] == 200


def test_the_access_log_goes_to_a_file_that_may_be_rotated_as_documented(boot, source):
    machine = boot()
    machine.install("--no-start")
    (drop_in,) = re.findall(r"```ini\n(.*?)```", (source / "docs" / "deployment.md").read_text(), re.DOTALL)
    machine.run("sh", "-c", "install -d -m 750 /var/log/authgate && install -d /etc/systemd/system/authgate.service.d")
    machine.run("tee", "/etc/systemd/system/authgate.service.d/override.conf", stdin=drop_in)
    machine.install()
    log = "/var/log/authgate/access.log"
    ask(machine, "/before")
    machine.run("sh", "-c", f"sleep 1; cp {log} {log}.1; truncate --size 0 {log}")
    ask(machine, "/after")
    paths = [json.loads(line)["path"] for line in machine.run("sh", "-c", f"sleep 1; cat {log}.1 {log}").splitlines()]
    assert paths == ["/before", "/after"]


def test_an_upgrade_that_does_not_get_ready_is_taken_back(boot, tmp_path):
    source = edited(
        tmp_path, "gateway_site/management/commands/serve.py", "    handed = systemd.take(os.environ)",
        "    raise StartRefused('this release is broken')",
    )  # fmt: skip
    machine = boot(source)
    before = machine.run("readlink", "/opt/authgate/current")
    printed = machine.install(check=False)
    assert "this release is broken" in printed
    assert "the previous release serves again" in printed
    assert machine.run("readlink", "/opt/authgate/current") == before
    assert ask(machine, "/health/ready")[0] == 200


def test_uninstalled_it_leaves_no_unit_and_no_process(boot):
    machine = boot()
    machine.install()
    machine.run("sh", "/source/deploy/install.sh", "uninstall")
    # systemd forgets a unit without a file when it has nothing else to do.
    listed = "systemctl list-units --all --no-legend 'authgate*'"
    machine.run("timeout", "20", "sh", "-c", f"while {listed} | grep .; do sleep 0.5; done")
    assert (
        machine.run(
            "sh", "-c", "ls -d /etc/systemd/system/*authgate* /etc/systemd/system/*/authgate*", check=False
        ).count("No such")
        == 2
    )
    assert machine.run("sh", "-c", "grep -h ' 0A ' /proc/net/tcp6 || true").strip() == ""
