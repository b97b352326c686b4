"""The disk of the data directory is full, or read-only, while two workers run on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.authgate.pages.test_outages import BROWSER, PASSWORD, is_explained, post_sign_in
from tests.authgate.state.test_outages_database import USUAL, answers, replace_workers, statuses
from tests.authgate.state.test_ready import readiness
from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.hostile import CLIENT_ID, CLIENT_SECRET, HostileProvider
from tests.support.oidc import add_provider
from tests.support.sessions import make_session
from tests.support.streams import wait_until

StartGateway = Callable[..., Gateway]


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with (self.path / "filling").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        (self.path / "filling").unlink()

    def lock(self) -> None:
        """For whoever opens it from now on. A file system with files open for writing cannot become read-only."""
        _run("mount", "--bind", str(self.path), str(self.path))
        _run("mount", "-o", "remount,bind,ro", str(self.path))

    def unlock(self) -> None:
        _run("umount", "--lazy", str(self.path))


CASES = [
    pytest.param(Disk.fill, Disk.empty, (), id="full http1"),
    pytest.param(Disk.fill, Disk.empty, ("--http2",), id="full http2"),
    pytest.param(Disk.lock, Disk.unlock, (), id="read-only"),
]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir(mode=0o700)
    try:
        _run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk")
    yield Disk(path)
    while path.is_mount():  # twice, when a test ended while it was read-only
        _run("umount", "--lazy", str(path))


@pytest.fixture
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as provider:
        yield provider


def begin_sign_in(gateway: Gateway, provider: HostileProvider) -> Callable[[], raw.Response]:
    """What brings the provider's answer to the gateway."""
    begun = gateway.get("/auth/login?provider=main", headers=BROWSER)
    assert begun.status == 302, begun.text
    cookie = begun.header("set-cookie").partition(";")[0]
    target = f"/auth/callback/main?{provider.authorize(begun.header('location'))}"
    return lambda: gateway.get(target, headers=[*BROWSER, ("Cookie", cookie)])


@pytest.mark.parametrize(("break_it", "mend_it", "args"), CASES)
def test_routes_go_on_pages_say_what_they_cannot_do_and_all_is_well_afterwards(
    start_gateway: StartGateway,
    gateway_template: Path,
    disk: Disk,
    provider: HostileProvider,
    break_it: Callable[[Disk], None],
    mend_it: Callable[[Disk], None],
    args: tuple[str, ...],
) -> None:
    shutil.copytree(gateway_template, disk.path, dirs_exist_ok=True)
    gateway = start_gateway(workers=2, args=args, template=None, env={"AUTHGATE_DATA_DIR": str(disk.path)})
    add_provider(gateway, "main", provider.url, CLIENT_ID, CLIENT_SECRET)
    gateway.shell.run(
        f"from django.contrib.auth.models import User; User.objects.create_superuser('admin', password={PASSWORD!r})"
    )
    token, session = gateway.mint("alice"), make_session(gateway)
    assert wait_until(lambda: readiness(gateway) == {"ready": True} and answers(gateway), 15)
    come_back = begin_sign_in(gateway, provider)
    assert statuses(gateway, token) == USUAL  # every worker knows by now what was changed above
    break_it(disk)
    for is_replaced in (False, True):
        if is_replaced:
            replace_workers(gateway, "HUP")
        assert statuses(gateway, token) == USUAL
        assert is_explained(post_sign_in(gateway))
        assert is_explained(come_back())
        assert gateway.get("/dashboard", headers=[*BROWSER, *session.headers]).status in (200, 503)
        sign_out = [*BROWSER, *session.headers, ("Origin", gateway.url), ("Content-Length", "0")]
        assert is_explained(gateway.request("/auth/logout", method="POST", headers=sign_out))
    mend_it(disk)
    assert wait_until(lambda: readiness(gateway) == {"ready": True}, 15), gateway.output
    assert post_sign_in(gateway).status == 302
    assert begin_sign_in(gateway, provider)().status == 302
    assert statuses(gateway, token) == USUAL
    assert "Traceback" not in gateway.output
