"""What is the same for everybody who uses a well-known provider; `{…}` in it is the operator's to replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    kind: str = "oidc"
    issuer: str = ""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    claim_mapping: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    require_verified_email: bool = True
    hint: str = ""

    def fields(self) -> dict[str, Any]:
        """By the names of IdentityProvider."""
        return {
            "name": self.name,
            "kind": self.kind,
            "issuer": self.issuer,
            "scopes": list(self.scopes),
            "claim_mapping": dict(self.claim_mapping),
            "require_verified_email": self.require_verified_email,
        }

    @property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(part.partition("}")[0] for part in self.issuer.split("{")[1:])


_MAIL_AND_MORE = ("openid", "email", "profile", "offline_access")

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "google": Preset(
            "Google",
            issuer="https://accounts.google.com",
            hint="Everybody with a Google account can sign in unless you allow only your e-mail domains.",
        ),
        "entra": Preset(
            "Microsoft Entra ID",
            issuer="https://login.microsoftonline.com/{tenant}/v2.0",
            scopes=_MAIL_AND_MORE,
            # It sends no email_verified, and lets a tenant's administrators write any address.
            require_verified_email=False,
            hint="Use your tenant's ID, never “common”: its issuer would be that of every tenant.",
        ),
        "okta": Preset("Okta", issuer="https://{domain}", scopes=("openid", "email", "profile", "groups")),
        "auth0": Preset(
            "Auth0",
            issuer="https://{domain}/",
            scopes=_MAIL_AND_MORE,
            hint="The issuer ends with a slash. Roles come under a name with your own prefix; map “groups” to it.",
        ),
        "keycloak": Preset(
            "Keycloak",
            issuer="https://{host}/realms/{realm}",
            hint="For groups, add a group membership mapper named “groups”, full path off; or add realm roles to the "
            "ID token and map “groups” to realm_access.roles.",
        ),
        "gitlab": Preset("GitLab", issuer="https://gitlab.com", hint="For your own GitLab, its address is the issuer."),
        "github": Preset(
            "GitHub",
            kind="github",
            scopes=("read:user", "user:email", "read:org"),
            hint="Groups are “org” and “org/team”, of the organisations that let this application see them.",
        ),
        "oauth2": Preset(
            "OAuth 2.0",
            kind="oauth2",
            scopes=(),
            claim_mapping=MappingProxyType({"sub": "id"}),
            # What plain OAuth 2.0 says of an address has no agreed meaning.
            require_verified_email=False,
            hint="For a service without OpenID Connect: enter its endpoints, and map “sub” to what never changes.",
        ),
    }
)
