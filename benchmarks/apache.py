"""Apache with mod_auth_openidc verifying bearer tokens by a local key, proxying and logging."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks import tokens
from benchmarks.nginx import Upstream
from benchmarks.processes import PeerMissing, Server, free_port

MODULES = Path("/usr/lib/apache2/modules")
_LOADED = ["mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc", "proxy", "proxy_http"]

_CONFIG = """
ServerRoot {dir}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {dir}/apache.pid
ErrorLog {dir}/error.log
DefaultRuntimeDir {dir}
Mutex file:{dir}
{modules}
StartServers 2
ServerLimit 2
ThreadsPerChild 64
ThreadLimit 64
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 300
Timeout 300
LimitRequestBody 0
LogFormat "%h %l %u %t \\"%r\\" %>s %b %D" bench
CustomLog {dir}/access.log bench
OIDCOAuthVerifyCertFiles {kid}#{certificate}
OIDCOAuthRemoteUserClaim sub
<Location />
  AuthType oauth20
  Require claim roles:bench
</Location>
ProxyPass /upload http://127.0.0.1:{sink}/upload enablereuse=on
ProxyPass / http://127.0.0.1:{upstream}/ enablereuse=on keepalive=on
"""


class Apache:
    name = "apache"
    verifies = True

    def __init__(self, directory: Path, upstream: Upstream, signer: tokens.Signer) -> None:
        binary = _binary()
        if os.geteuid() == 0:
            shutil.chown(directory, "www-data")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.signer = signer
        self.token = signer.sign("alice")
        self.version = _version(binary)
        config = directory / "apache.conf"
        config.write_text(
            _CONFIG.format(
                dir=directory, port=self.port, upstream=upstream.port, sink=upstream.sink_port,
                modules="\n".join(_load_lines()), kid=tokens.KEY_ID,
                certificate=tokens.write_certificate(signer, directory / "bench.pem"),
            )
        )  # fmt: skip
        command = [binary, "-f", str(config), "-DFOREGROUND"]
        self._server = Server(command, self.port, directory / "output.log")

    def pids(self) -> list[int]:
        return self._server.pids()

    def stop(self) -> None:
        self._server.stop()


def _binary() -> str:
    found = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")
    if not found:
        raise PeerMissing("apache2 is not installed (Debian package apache2)")
    if not (MODULES / "mod_auth_openidc.so").exists():
        raise PeerMissing("mod_auth_openidc is not installed (Debian package libapache2-mod-auth-openidc)")
    return found


def _load_lines() -> list[str]:
    lines = [f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _LOADED]
    return [*lines, "User www-data", "Group www-data"] if os.geteuid() == 0 else lines


def _version(binary: str) -> str:
    apache = subprocess.run([binary, "-v"], capture_output=True, text=True).stdout.split("/")[1].split(" ")[0]
    package = ["dpkg-query", "-W", "-f", "${Version}", "libapache2-mod-auth-openidc"]
    module = subprocess.run(package, capture_output=True, text=True).stdout or "?"
    return f"{apache}, mod_auth_openidc {module}"
