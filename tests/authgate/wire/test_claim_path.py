from __future__ import annotations

from typing import Any

import pytest

from authgate.wire.claim_path import claim_at

CLAIMS = {
    "sub": "a", "https://example.com/roles": ["x"], "realm_access": {"roles": ["y"], "deep": {"er": 1}},
    "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "builder"}}, "a": {"b": 1}, "a.b": 2, "list": [1],
    "none": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("sub", "a"),
        ("https://example.com/roles", ["x"]),
        ("realm_access.roles", ["y"]),
        ("realm_access.deep.er", 1),
        ("kubernetes.io.namespace", "prod"),
        ("kubernetes.io.serviceaccount.name", "builder"),
        ("a.b", 2),
        ("realm_access.other", None),
        ("sub.a", None),
        ("list.0", None),
        ("none", None),
        ("", None),
        (".", None),
        ("realm_access.", None),
    ],
)
def test_claim_at(where: str, found: Any) -> None:
    assert claim_at(CLAIMS, where) == found
