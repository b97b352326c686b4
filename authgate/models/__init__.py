"""The rows. Imported from the module that has them, so that import-linter sees who touches which."""

from __future__ import annotations

from authgate.models import issuers, people, policy, polling, service_tokens, trust

__all__ = ["issuers", "people", "policy", "polling", "service_tokens", "trust"]
