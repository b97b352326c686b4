"""The rows. Imported from the module that has them, so that import-linter sees who touches which."""

from __future__ import annotations

from authgate.models import people, policy, trust

__all__ = ["people", "policy", "trust"]
