"""These run by themselves, with `make test-packages`: they fetch packages, build an image, and take minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.wheel import build, copy_source

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any(HERE.name in argument for argument in config.args) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As somebody has it who has unpacked a release."""
    return copy_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    return build(source)
