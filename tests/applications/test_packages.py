"""A package index: twine uploads, pip installs, each with a service token as its password."""

from __future__ import annotations

import pytest

from tests.applications.stage import Stage

CHAPTER = "pip and a package index"
ENVIRONMENT = "pypiserver"
HOST = "localhost"
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tool"
version = "1.2.3"
[tool.setuptools]
py-modules = ["tool"]
"""


@pytest.fixture(scope="module")
def token(stage: Stage) -> str:
    return stage.token("ci", "member")


@pytest.fixture(scope="module")
def built(stage: Stage) -> None:
    (stage.directory / "pyproject.toml").write_text(PROJECT)
    (stage.directory / "tool.py").write_text("print('hello from the tool')\n")
    stage.run("python -m build --no-isolation --outdir dist .")


def clients(stage: Stage) -> tuple[str, str]:
    upload, install = stage.recipe.command(stage.gateway, 1).splitlines()
    return upload, install.replace("@localhost/", f"@localhost:{stage.gateway.port}/") + " --no-deps"


@pytest.mark.usefixtures("built")
def test_a_package_is_uploaded_and_installed(stage: Stage, token: str) -> None:
    upload, install = clients(stage)
    stage.run(upload, TOKEN=token)
    stage.run(install, TOKEN=token)
    assert stage.run("python -m tool", PYTHONPATH="installed").stdout == "hello from the tool\n"


@pytest.mark.usefixtures("built")
def test_a_token_without_the_role_neither_uploads_nor_installs(stage: Stage) -> None:
    other = stage.token("other")
    upload, install = clients(stage)
    for command in (upload, install.replace("installed", "elsewhere")):
        assert stage.run(command, check=False, TOKEN=other).returncode != 0
    refused = stage.gateway.log_lines(wait_for=2, status=403, sub="service|other")
    assert {line["path"] for line in refused} == {"/", "/simple/tool/"}
    assert not (stage.directory / "elsewhere").exists()


@pytest.mark.parametrize("path", ["/simple/", "/simple/tool/", "/packages/tool-1.2.3.tar.gz"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(path)


def test_nobody_else_uploads(stage: Stage) -> None:
    assert stage.gateway.request("/", method="POST", body=b":action=file_upload").status == 401
