"""These run by themselves, with `make test-install`: they make whole systems, and take minutes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.install.machine import Machine, Root, copy_source, make_root

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any(HERE.name in argument for argument in config.args) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def fresh(request: pytest.FixtureRequest) -> Root:
    """A system with nothing but its base: Debian 12 and 13."""
    return make_root(request.param)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def install_on(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Root]:
    """A Debian with the gateway, as in the image of a machine: nothing runs."""

    @functools.cache
    def install(system: str) -> Root:
        root = make_root(system).copy(tmp_path_factory.mktemp(system) / "root")
        with Machine(root, source) as machine:
            machine.install("--public-url", "https://gateway.example.com")
        return root

    return install


@pytest.fixture
def installed(install_on: Callable[[str], Root]) -> Root:
    return install_on("bookworm")


@pytest.fixture
def boot(install_on: Callable[[str], Root], source: Path) -> Iterator[Callable[..., Machine]]:
    """Starts systemd on such a system, which forgets at the end what has been done."""
    with ExitStack() as stack:

        def start(source: Path = source, system: str = "bookworm") -> Machine:
            return stack.enter_context(Machine(install_on(system), source, boots=True))

        yield start
