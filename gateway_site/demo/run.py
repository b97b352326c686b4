from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management.base import CommandError, OutputWrapper

from authgate.own_hosts import exposed_host
from gateway_site import env
from gateway_site.demo import openid, sign_in
from gateway_site.demo.banner import banner
from gateway_site.demo.data import application_url, create_admin, prepare, socket_path
from gateway_site.demo.processes import Processes, claim_directory, claim_port


def run(*, port: int, root: Path, data_dir: Path, auth_prefix: str, out: OutputWrapper) -> None:
    """Prepare, start, print where everything is, and stay until told to stop."""
    if host := exposed_host():
        raise CommandError(f"AUTHGATE_PUBLIC_URL, AUTHGATE_ALLOWED_HOSTS: {host}: the demo is for this machine alone")
    claim_port(port)
    lock = claim_directory(data_dir)
    upstream_socket = socket_path(data_dir)
    url = env.public_url("AUTHGATE_PUBLIC_URL", f"http://localhost:{port}")
    # Wherever the URL came from, all processes get this one.
    environment = {**os.environ, "AUTHGATE_PUBLIC_URL": url, "AUTHGATE_PUBLIC_URL_FILE": ""}
    try:
        with Processes() as processes:
            prepare(data_dir)
            processes.start("the demo service", _upstream(upstream_socket), cwd=root, env=environment)
            sign_in_line = _start_sign_in(processes, root, data_dir, url, auth_prefix)
            processes.start("the gateway", _gateway(port), cwd=root, env=environment)
            if processes.wait_for_url(f"http://127.0.0.1:{port}/health/ready"):
                # Last of all: its password is shown once, and only a start that succeeded shows it.
                password = create_admin()
                out.write(
                    banner(
                        url=url, auth_prefix=auth_prefix, data_dir=data_dir, root=root, password=password,
                        sign_in=sign_in_line, application=application_url(url),
                    )
                )  # fmt: skip
                out.flush()
                processes.wait()
    finally:
        upstream_socket.unlink(missing_ok=True)
        os.close(lock)


def _start_sign_in(processes: Processes, root: Path, data_dir: Path, url: str, auth_prefix: str) -> str:
    """What the banner says of it: a demo without Node.js is a demo without sign-in."""
    try:
        command = openid.command(data_dir / sign_in.CONFIGURATION)
    except openid.ProviderUnavailable as error:
        return f"not in this demo: {error}"
    sign_in.prepare(data_dir, url, auth_prefix)
    processes.start("the OpenID provider", command, cwd=root, env=os.environ)
    return f"{url}/dashboard as alice, or as root (who has the role admin)"


def _upstream(socket: Path) -> list[str]:
    return [
        sys.executable, "-m", "uvicorn", "gateway_site.demo.upstream:application", "--uds", str(socket),
        "--no-access-log", "--log-level", "warning", "--lifespan", "off", "--timeout-graceful-shutdown", "1",
    ]  # fmt: skip


def _gateway(port: int) -> list[str]:
    # Whoever runs the demo: its service's socket and its files are theirs as well.
    return [sys.executable, "-m", "gateway_site", "serve", "--bind", f"127.0.0.1:{port}", "--user", str(os.geteuid())]
