"""docs/deployment.md: what an operator copies from it."""

from __future__ import annotations

import re

from tests.support.gateway import ROOT

TEXT = (ROOT / "docs" / "deployment.md").read_text()


def test_the_policy_of_the_walk_through_is_valid_and_signs_people_in(start_gateway, upstream):
    (block,) = re.findall(r"authgate policy import - <<EOF\n(.*?)\n *EOF\n", TEXT, re.DOTALL)
    policy = "\n".join(line.removeprefix("   ") for line in block.splitlines())
    gateway = start_gateway(policy=policy.replace("http://127.0.0.1:3000", upstream.target))
    token = gateway.mint("alice")
    assert gateway.request("/", host="app.example.com").status == 401
    assert gateway.request("/", host="app.example.com", token=token).status == 200


def test_the_options_and_files_that_it_names_exist():
    installer = (ROOT / "deploy" / "install.sh").read_text()
    for option in set(re.findall(r"install\.sh.*?(--[a-z-]+)", TEXT)):
        assert f"{option} " in installer or f"{option})" in installer, option
    for path in set(re.findall(r"/opt/authgate/current/([\w./-]+)", TEXT)):
        assert (ROOT / path).exists(), path
