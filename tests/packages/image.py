"""The image, built by buildah on a Debian in place of its base, and run as a hardened container is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "authgate-packages"
BASE, IMAGE = "localhost/authgate-test-base", "localhost/authgate-test"
UID = 10001
# What a machine's pip needs to reach its index.
_OF_THE_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
_RUN = """
set -e
root=$1 data=$2 uid=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$data" "$root/var/lib/authgate"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --bounding-set -all \
    --inh-caps -all -- env -i "$@"
"""


def buildah(*args: str) -> str:
    # Neither an overlay nor a namespace of its own, which a container that tests run in may not have.
    env = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    return subprocess.run(["buildah", *args], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def make_base() -> None:
    """Debian 13 with its Python: what the official image of Python is made of, but for where Python lies."""
    archive = CACHE / "trixie.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = archive.with_name("draft.tar")
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", packages, "trixie", draft], check=True)
        draft.rename(archive)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(archive), "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
    buildah("commit", "--quiet", "--rm", container, BASE)


def build(source: Path) -> None:
    mounts = [f"--volume={path}:{path}:ro" for path in _OF_THE_MACHINE if Path(path).exists()]
    buildah(
        "build", "--quiet", "--format=docker", "--layers=false", f"--build-arg=BASE={BASE}", *mounts,
        f"--file={source}/deploy/container/Containerfile", f"--tag={IMAGE}", str(source),
    )  # fmt: skip


class Container:
    """The content of the image, read-only but for /tmp and the volume; no root, no capability."""

    def __init__(self, volume: Path) -> None:
        self._volume = volume
        volume.mkdir(mode=0o700)
        shutil.chown(volume, UID, UID)
        self._name = buildah("from", IMAGE)
        self.root = Path(buildah("mount", self._name))

    def command(self, *args: str) -> list[str]:
        """As the engine would run it: with the environment of the image, and no shell."""
        variables = buildah(
            "inspect", "--type=image", "--format={{range .Docker.Config.Env}}{{println .}}{{end}}", IMAGE
        )
        script = ["unshare", "--mount", "bash", "-c", _RUN, "bash", str(self.root), str(self._volume), str(UID)]
        return [*script, *variables.split(), *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*args), capture_output=True, text=True, check=False)

    def remove(self) -> None:
        buildah("rm", self._name)
