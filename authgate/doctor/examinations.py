"""All examinations of this floor. Loaded once there are models (authgate/apps.py)."""

from __future__ import annotations

from authgate.doctor import certificates, configuration, database, files, keys, providers, public_url, redis

__all__ = ["certificates", "configuration", "database", "files", "keys", "providers", "public_url", "redis"]
