"""WsgiDAV: files by WebDAV, with a client that others wrote and a service token as its password."""

from __future__ import annotations

import re
import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.applications.stage import FORGED, Stage

CHAPTER = "WsgiDAV"
ENVIRONMENT = "wsgidav"
HOST = "localhost"
HOME = "/files/"
CLIENT = """\
from webdav3.client import Client
client = Client({{
    "webdav_hostname": "{url}", "webdav_root": "/files/", "webdav_login": "ci", "webdav_password": "{token}",
}})
"""
BODIES = {
    "LOCK": b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>',
    "PROPPATCH": b'<propertyupdate xmlns="DAV:"><set><prop><c xmlns="urn:x">red</c></prop></set></propertyupdate>',
}


@pytest.fixture(scope="module")
def token(stage: Stage) -> str:
    return stage.token("ci", "member")


def run(stage: Stage, token: str, *lines: str) -> subprocess.CompletedProcess[str]:
    code = CLIENT.format(url=stage.gateway.url, token=token) + "\n".join(lines)
    (stage.directory / "client.py").write_text(code)
    return stage.run("python client.py", check=False)


def test_folders_and_files_are_made_moved_copied_and_listed(stage: Stage, token: str) -> None:
    (stage.directory / "here.txt").write_text("hello\n" * 100_000)
    done = run(
        stage, token,
        'client.mkdir("one")',
        'client.upload_sync("one/a ä.txt", "here.txt")',
        'client.copy("one/a ä.txt", "one/b.txt")',
        'client.move("one", "two")',
        'print(sorted(client.list("two")))',
        'client.download_sync("two/b.txt", "there.txt")',
        'print(client.info("two/a ä.txt")["size"])',
        'client.clean("two/b.txt")',
        'print(client.check("two/b.txt"))',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["['a ä.txt', 'b.txt']", "600000", "False"]
    assert (stage.directory / "there.txt").read_text() == "hello\n" * 100_000
    assert (stage.directory / "shared" / "two" / "a ä.txt").exists()


@pytest.mark.parametrize(
    ("method", "status"), [("LOCK", 200), ("PROPFIND", 207), ("PROPPATCH", 207), ("OPTIONS", 200), ("REPORT", 405)]
)
def test_further_methods_reach_it(stage: Stage, token: str, method: str, status: int) -> None:
    (stage.directory / "shared" / f"{method}.txt").write_text("x")
    headers = [("Depth", "0"), ("Content-Type", "application/xml")]
    got = stage.gateway.request(
        f"{HOME}{method}.txt", method=method, token=token, headers=headers, body=BODIES.get(method)
    )
    assert got.status == status


def test_nobody_moves_or_copies_a_folder_with_what_another_route_protects_in_it(stage: Stage, token: str) -> None:
    plan = stage.directory / "shared" / "club" / "board" / "plan.txt"
    plan.parent.mkdir(parents=True)
    plan.write_text("secret")
    policy = stage.recipe.policy()
    route = policy.rpartition("routes: [")[2].partition("]\n")[0]
    board = route.replace("name: files, path: /files,", "name: board, path: /files/club/board,")
    roles = policy.replace("roles: {member: {}}", "roles: {member: {}, board: {}}")
    stage.gateway.import_policy(roles.replace(route, f"{route}, {board.replace('[member]', '[board]')}"))
    try:
        for source, destination in (("club", "mine"), ("club/", "mine/"), ("", "mine/"), ("new/", "club/")):
            headers = [("Destination", f"{HOME}{destination}"), ("Overwrite", "T")]
            for method in ("COPY", "MOVE"):
                asked = stage.gateway.request(f"{HOME}{source}", method=method, token=token, headers=headers)
                assert (asked.status, asked.json()["reason"]) == (403, "protected_below")
        for method in ("DELETE", "PROPFIND"):
            assert stage.gateway.request(f"{HOME}club/", method=method, token=token).status == 403
        done = run(stage, token, 'print(client.list("club"))', 'client.clean("club")')
        assert "board/" in done.stdout and done.returncode != 0
        assert [path.name for path in plan.parent.parent.parent.rglob("plan.txt")] == ["plan.txt"]
    finally:
        stage.gateway.import_policy(policy)


def test_a_part_of_a_file_and_only_if_it_is_the_same(stage: Stage, token: str) -> None:
    (stage.directory / "shared" / "part.txt").write_text("0123456789")
    whole = stage.gateway.get(f"{HOME}part.txt", token=token)
    wanted = [("Range", "bytes=2-4"), ("If-Range", whole.header("etag"))]
    part = stage.gateway.get(f"{HOME}part.txt", token=token, headers=wanted)
    assert (part.status, part.header("content-range"), part.body) == (206, "bytes 2-4/10", b"234")
    wanted[1] = ("If-Range", '"another"')
    assert stage.gateway.get(f"{HOME}part.txt", token=token, headers=wanted).body == b"0123456789"


def test_a_person_sees_the_folder_in_a_browser(stage: Stage, page: Page) -> None:
    (stage.directory / "shared" / "seen.txt").write_text("seen")
    stage.open(page, HOME)
    expect(page.get_by_role("link", name="seen.txt")).to_be_visible()
    stage.show(page, "folder")


def test_it_knows_who_is_there(stage: Stage, token: str) -> None:
    stage.gateway.get(HOME, token=token)
    stage.gateway.get(HOME, token=stage.gateway.mint("somebody", roles=("member",)), headers=[*FORGED.items()])
    told = {re.search(r"127\.0\.0\.1 - (\S+) - ", line)[1] for line in stage.output.splitlines() if '"GET /"' in line}
    assert told >= {"service|ci", "somebody"} and not any("alice@" in name for name in told)


@pytest.mark.parametrize("path", ["", "part.txt"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(HOME + path)
    asked = stage.gateway.request(HOME + path, method="PROPFIND")
    assert (asked.status, asked.all("www-authenticate")[-1].partition(" ")[0]) == (401, "Basic")


def test_a_token_without_the_role_is_refused_to_the_client(stage: Stage) -> None:
    done = run(stage, stage.token("other"), 'client.mkdir("three")')
    assert done.returncode != 0
    assert not (stage.directory / "shared" / "three").exists()
