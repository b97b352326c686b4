"""Real reverse proxies in front of a gateway, configured by the very text of docs/deployment.md."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support.certificates import Certificates
from tests.support.gateway import DIE_WITH_US, ROOT

DOCUMENT = ROOT / "docs" / "deployment.md"
_NGINX = """\
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{}}
http {{
access_log off;
client_body_temp_path {dir}/body;
proxy_temp_path {dir}/proxy;
fastcgi_temp_path {dir}/fastcgi;
uwsgi_temp_path {dir}/uwsgi;
scgi_temp_path {dir}/scgi;
{servers}
}}
"""
_CADDY = "{\nadmin off\nskip_install_trust\nauto_https disable_redirects\n}\n"


class FrontMissing(RuntimeError):
    """This machine has no such program."""


def documented(language: str) -> str:
    """The block of that language in the chapter on reverse proxies."""
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found, language
    return found[1]


class Front:
    """One of them on 127.0.0.1, https, in front of the gateway on `target`."""

    def __init__(self, program: str, text: str, port: int, target: int, tls: Certificates, directory: Path) -> None:
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if path is None:
            raise FrontMissing(f"needs {program}")
        self.port, self._directory = port, directory
        text = self._replaced(text, {"127.0.0.1:8000": f"127.0.0.1:{target}"})
        command, content = getattr(self, f"_{program}")(text, tls)
        configuration = directory / f"{program}.conf"
        configuration.write_text(content)
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, path, *command, str(configuration)],
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(directory)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._wait()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _nginx(self, text: str, tls: Certificates) -> tuple[list[str], str]:
        pem = {"/etc/ssl/gateway.pem": str(tls.cert_file), "/etc/ssl/gateway.key": str(tls.key_file)}
        text = self._replaced(text, {"listen 443": f"listen 127.0.0.1:{self.port}", **pem})
        return ["-p", str(self._directory), "-c"], _NGINX.format(dir=self._directory, servers=text)

    def _haproxy(self, text: str, tls: Certificates) -> tuple[list[str], str]:
        both = self._directory / "both.pem"
        both.write_bytes(tls.cert_file.read_bytes() + tls.key_file.read_bytes())
        here = {"bind :443": f"bind 127.0.0.1:{self.port}", "/etc/haproxy/gateway.pem": str(both)}
        return ["-db", "-f"], self._replaced(text, here)

    def _caddy(self, text: str, tls: Certificates) -> tuple[list[str], str]:
        hosts = ("gateway.example.com", "wiki.example.com")
        names = {", ".join(hosts): ", ".join(f"https://{host}:{self.port}" for host in hosts)}
        text = self._replaced(text, {**names, " {\n    rev": f" {{\n    tls {tls.cert_file} {tls.key_file}\n    rev"})
        return ["run", "--adapter", "caddyfile", "--config"], _CADDY + text

    @staticmethod
    def _replaced(text: str, values: dict[str, str]) -> str:
        for written, here in values.items():
            assert written in text, written
            text = text.replace(written, here)
        return text

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
