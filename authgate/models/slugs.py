"""The names in front of subjects ("corp|alice"): providers of sign-in and issuers of tokens share them."""

from __future__ import annotations

from django.apps import apps

# The gateway's own: of its sessions and tokens in routes, and in front of service tokens.
RESERVED = frozenset(("gateway", "service", "authgate"))
_MODELS = {"IdentityProvider": "an identity provider", "TokenIssuer": "a token issuer"}


def slug_problem(slug: str, model: str) -> str | None:
    """Why no `model` may have it: somebody of the one would pass for somebody of the other."""
    if slug in RESERVED:
        return f"{slug} is a name of the gateway itself: choose another one"
    for other, noun in _MODELS.items():
        if other != model and apps.get_model("authgate", other)._default_manager.filter(slug=slug).exists():
            return f"{noun} has this name, and nobody could tell its callers from these: choose another one"
    return None
