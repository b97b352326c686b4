"""These run by themselves, with `make test-applications`: they install what others wrote, and take minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.applications.stage import Stage
from tests.support.browser import chromium

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any(HERE.name in argument for argument in config.args) else True


@pytest.fixture(scope="module")
def stage(request: Any, gateway_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """As the module says: CHAPTER, ENVIRONMENT, HOST, ARGS, prepare(stage). Its application runs."""
    module = request.module
    directory = tmp_path_factory.mktemp(module.__name__.rpartition("test_")[2])
    # Not localhost, which applications may treat as a case of its own; but only browsers resolve names below it.
    host = getattr(module, "HOST", "gateway.localhost")
    args = getattr(module, "ARGS", ())
    with Stage(
        module.CHAPTER, getattr(module, "ENVIRONMENT", ""), gateway_template, directory, host=host, args=args
    ) as stage:
        if prepare := getattr(module, "prepare", None):
            prepare(stage)
        yield stage.start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, stage: Stage, request: Any) -> Iterator[Page]:
    """What it showed at the end is kept among the screenshots, also of a test that failed."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 800})
    page = context.new_page()
    yield page
    stage.show(page, f"end of {request.node.name}")
    context.close()
