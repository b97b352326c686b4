"""What is installed is named with its hash, and by nothing but its name and version."""

from __future__ import annotations

import re

import pytest

from tests.support.gateway import ROOT

NAMES = (
    "requirements", "requirements-dev", "requirements-otlp", "requirements-build", "requirements-docs",
    "requirements-audit", "requirements-node",
)  # fmt: skip


def blocks(name: str) -> list[str]:
    """Each requirement with its hashes, on one line."""
    lines = (ROOT / f"{name}.txt").read_text().replace("\\\n", "").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_each_requirement_has_a_version_and_the_hashes_of_its_artefacts(name):
    for block in blocks(name):
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^\n]+?)?( +--hash=sha256:[0-9a-f]{64})+", block), block[:200]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_for_is_what_is_installed(name):
    asked = re.findall(r"^([A-Za-z0-9_-]+)(?:\[\w+\])?(==\S+)$", (ROOT / f"{name}.in").read_text(), re.MULTILINE)
    wanted = {f"{package.lower().replace('_', '-')}{version}" for package, version in asked}
    assert asked
    assert wanted <= {block.split(" ", 1)[0] for block in blocks(name)}


def test_both_lists_that_are_installed_together_name_the_same_versions():
    runtime, dev = ({block.split(" ", 1)[0] for block in blocks(name)} for name in NAMES[:2])
    both = {pin.split("==")[0] for pin in runtime} & {pin.split("==")[0] for pin in dev}
    assert {pin for pin in dev if pin.split("==")[0] in both} <= runtime


@pytest.mark.parametrize("file", ["Makefile", ".ci/provider"])
def test_nothing_is_installed_without_its_hash(file):
    installs = re.findall(r"pip install .*-r requirements.*", (ROOT / file).read_text())
    assert installs
    assert all(" --require-hashes " in line for line in installs)
