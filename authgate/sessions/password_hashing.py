"""Password hashes, made one at a time in a process and below everything else it does."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from authgate.threads import quietly


class QuietPasswordHasher(PBKDF2PasswordHasher):
    """Django's own: the same algorithm, the same hashes. Signing in, changing a password and making an account wait."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return quietly(super().encode, password, salt, iterations)
