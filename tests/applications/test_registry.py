"""A container registry: skopeo pushes and pulls an image, with a service token as its password."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.applications.stage import Stage

CHAPTER = "A container registry"
HOST = "localhost"
LAYER_BYTES = 20_000_000


@pytest.fixture(scope="module")
def token(stage: Stage) -> str:
    return stage.token("ci", "member")


@pytest.fixture(scope="module", autouse=True)
def image(stage: Stage) -> None:
    make_image(stage.directory / "image")


def make_image(directory: Path) -> None:
    """An OCI layout with one layer, too large to be sent at once."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("big.bin")
        entry.size = LAYER_BYTES
        tar.addfile(entry, io.BytesIO(os.urandom(LAYER_BYTES)))

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layer = add(gzip.compress(archive.getvalue(), 1), "layer.v1.tar+gzip")
    unpacked = f"sha256:{hashlib.sha256(archive.getvalue()).hexdigest()}"
    about = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [unpacked]}}
    config = add(json.dumps(about).encode(), "config.v1+json")
    manifest = add(json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode(), "manifest.v1+json")
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def clients(stage: Stage) -> tuple[str, str]:
    """To push and to look."""
    printed = stage.recipe.command(stage.gateway, 1)
    push, look = printed.replace("//localhost/", f"//localhost:{stage.gateway.port}/").splitlines()
    return push.replace("copy", "copy --insecure-policy"), look


def sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (directory / "blobs" / "sha256").iterdir()}


def test_an_image_is_pushed_looked_at_and_pulled(stage: Stage, token: str) -> None:
    push, look = clients(stage)
    stage.run(push, TOKEN=token)
    assert json.loads(stage.run(look, TOKEN=token).stdout)["RepoTags"] == ["1"]
    pull = push.replace("--dest-", "--src-").replace("oci:image", "").strip() + " oci:pulled"
    stage.run(pull, TOKEN=token)
    assert sizes(stage.directory / "pulled") == sizes(stage.directory / "image")
    methods = {line["method"] for line in stage.gateway.log_lines(sub="service|ci")}
    assert {"HEAD", "POST", "PATCH", "PUT", "GET"} <= methods


def test_an_upload_goes_on_where_it_was_interrupted(stage: Stage, token: str) -> None:
    """In the order of the OCI distribution specification, "Pushing a blob in chunks"."""
    gateway, blob = stage.gateway, os.urandom(300_000)
    begun = gateway.request("/v2/team/parts/blobs/uploads/", method="POST", token=token, body=b"")
    assert begun.status == 202
    place = begun.header("location")
    for first, last in ((0, 100_000), (100_000, 300_000)):
        headers = [("Content-Range", f"{first}-{last - 1}"), ("Content-Type", "application/octet-stream")]
        sent = gateway.request(place, method="PATCH", token=token, headers=headers, body=blob[first:last])
        assert (sent.status, sent.header("range")) == (202, f"0-{last - 1}")
        place = sent.header("location")
        assert place.startswith("/v2/team/parts/blobs/uploads/")
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    ended = gateway.request(f"{place}&digest={digest}", method="PUT", token=token, body=b"")
    assert ended.status == 201
    assert gateway.get(f"/v2/team/parts/blobs/{digest}", token=token).body == blob


def test_a_token_without_the_role_neither_pushes_nor_pulls(stage: Stage, token: str) -> None:
    other = stage.token("other")
    for command in clients(stage):
        assert stage.run(command.replace("tool:1", "theirs:1"), check=False, TOKEN=other).returncode != 0
    assert not (stage.directory / "registry/docker/registry/v2/repositories/team/theirs").exists()


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/team/tool/tags/list", "/v2/team/tool/manifests/1"])
def test_nobody_else_gets_in(stage: Stage, path: str) -> None:
    stage.assert_closed(path)
