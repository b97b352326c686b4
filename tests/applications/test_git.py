"""git over HTTP/2: a clone and a push by `git` itself, with a service token as its password."""

from __future__ import annotations

import pytest

from tests.applications.stage import Stage

CHAPTER = "git"
HOST = "localhost"
ARGS = ("--http2",)
REFS = "/git/tool.git/info/refs?service=git-receive-pack"
COMMIT = """\
git config --global user.email ci@example.com
git config --global user.name ci
cd tool
head -c 3000000 /dev/urandom > big.bin
git add .
git commit --quiet -m first
git push --quiet origin HEAD:main
"""


@pytest.fixture(scope="module")
def token(stage: Stage) -> str:
    return stage.token("ci", "member")


def test_a_repository_is_cloned_pushed_to_and_fetched(stage: Stage, token: str) -> None:
    stage.run("git -C repositories/tool.git config core.logAllRefUpdates true")
    stage.run(stage.recipe.command(stage.gateway, 1), TOKEN=token)
    stage.run(COMMIT, TOKEN=token)  # more than git sends at once: chunked
    clone = f"git clone --quiet {stage.gateway.url}/git/tool.git again"
    again = stage.run(f"{clone}; git -C again log --format=%s", TOKEN=token)
    assert again.stdout == "first\n"
    assert (stage.directory / "again" / "big.bin").stat().st_size == 3_000_000
    stage.run("cd again; git commit --quiet --allow-empty -m second; git push --quiet origin HEAD:main", TOKEN=token)
    pulled = stage.run("cd tool; git fetch --quiet origin; git log --format=%s origin/main", TOKEN=token)
    assert pulled.stdout == "second\nfirst\n"
    assert "HTTP/2 200" in stage.run("cd tool; git ls-remote", TOKEN=token, GIT_CURL_VERBOSE="1").stderr
    reflog = stage.run("git -C repositories/tool.git reflog show --format=%gn main").stdout
    assert reflog == "service|ci\nservice|ci\n"


def test_git_without_a_token_is_asked_for_a_password_and_gets_nothing(stage: Stage) -> None:
    asked = stage.run(
        f"git -c credential.helper= clone {stage.gateway.url}/git/tool.git x", check=False, GIT_TERMINAL_PROMPT="0"
    )
    assert asked.returncode != 0
    assert "could not read Username" in asked.stderr


def test_a_token_without_the_role_neither_reads_nor_pushes(stage: Stage) -> None:
    other = stage.token("other")
    url = stage.gateway.url.replace("://", f"://ci:{other}@")
    refused = stage.run(f"git -c credential.helper= ls-remote {url}/git/tool.git", check=False, GIT_TERMINAL_PROMPT="0")
    assert refused.returncode != 0
    assert "403" in refused.stderr


@pytest.mark.parametrize("path", [REFS, "/git/tool.git/HEAD", "/git/tool.git/git-receive-pack"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(path)
