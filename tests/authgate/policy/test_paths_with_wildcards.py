"""A path written as other gateways write it is told how it is written here."""

from __future__ import annotations

import pytest

from authgate.policy.places import path_problem


@pytest.mark.parametrize(("path", "wanted"), [("/*", "/"), ("/**", "/"), ("/api/*", "/api"), ("/api/**", "/api")])
def test_a_path_with_a_star_is_told_that_a_prefix_matches_all_below(path, wanted):
    problem = path_problem(path, "prefix")
    assert problem == f"a path has no wildcards, and a prefix matches everything below it: write {wanted}"


@pytest.mark.parametrize("path", ["/a/*/b", "/a*", "/a*/"])
def test_a_star_elsewhere_has_nothing_that_stands_for_it(path):
    assert path_problem(path, "prefix") == "a path has no wildcards, and a prefix matches everything below it"
