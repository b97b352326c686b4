"""The identity headers of other gateways: what a service that once stood behind one of them may still believe.

Whole families, since each product adds names from release to release. A header that carries a secret of its own, which
the service checks (`X-Auth-Token` of OpenStack, `X-API-Key`), is no statement of a gateway and is not listed.
"""

from __future__ import annotations

from itertools import product

_FAMILIES = (
    # CGI's REMOTE_USER by way of a header; Authelia, Kubernetes, Radicale, Nextcloud, Django's RemoteUserMiddleware
    b"remote-", b"x-remote-",
    b"x-webauth-",  # Grafana, Gitea
    b"x-authenticated-", b"x-auth-request-",  # oauth2-proxy, Kong, ICAP
    b"x-authentik-", b"x-authelia-", b"x-pomerium-", b"x-vouch-", b"x-tinyauth-", b"x-organizr-", b"x-keycloak-",
    b"x-oauth2-proxy-", b"x-sso-", b"x-proxy-user", b"x-proxy-role", b"x-proxy-group",  # OpenSearch
    b"x-oidc-", b"oidc-",  # mod_auth_openidc: OIDC_CLAIM_…
    b"mellon-", b"x-mellon-", b"shib-", b"x-shib-", b"x-saml-",  # SAML in Apache
    b"x-jwt-", b"x-token-",  # Istio, WSO2, caddy-security
    b"x-consumer-", b"x-credential-", b"x-anonymous-consumer",  # Kong, APISIX
    b"x-goog-authenticated-", b"x-goog-iap-", b"x-appengine-", b"x-apigateway-api-userinfo",
    b"x-endpoint-api-userinfo",
    b"x-amzn-oidc-", b"x-amzn-mtls-", b"x-amzn-ava-", b"x-amzn-request-context", b"x-amzn-lambda-context",
    b"x-ms-client-principal", b"x-ms-token-", b"x-arr-clientcert",  # Azure App Service
    b"cf-access-", b"tailscale-", b"teleport-", b"kubeflow-", b"sec-istio-auth-",
    b"sm-", b"iv-", b"am-eai-", b"oam-", b"osso-",  # SiteMinder, IBM WebSEAL, Oracle
    # Client certificates: mod_ssl, nginx, HAProxy, Traefik, RFC 9440
    b"x-ssl-", b"ssl-", b"x-tls-", b"x-mtls-", b"x-client-cert", b"client-cert", b"x-client-dn", b"x-client-cn",
    b"x-client-verif", b"x-client-s-dn", b"x-client-subject", b"x-client-issuer", b"x-client-i-dn",
)  # fmt: skip

# `X-Auth-User`, `X-User-Email`, `Auth-Username` and the like belong to nobody's family: louketo, Ory Oathkeeper,
# OpenStack's middleware, Open WebUI, OliveTin and in-house gateways.
_NOUNS = (
    "user", "userid", "user-id", "username", "user-name", "user-email", "user-mail", "user-group", "user-groups",
    "user-role", "user-roles", "user-info", "user-claims", "user-permissions", "user-scopes", "user-dn",
    "usergroup", "usergroups", "userinfo", "principal", "subject", "identity", "claims",
)  # fmt: skip
_AUTH_NOUNS = (
    "id", "sub", "name", "email", "mail", "login", "uid", "group", "groups", "role", "roles", "scope", "scopes",
    "audience", "issuer", "method", "expiresin", "given-name", "family-name", "preferred-username", "fullname", "jwt",
    "info", "permissions", "tenant",
)  # fmt: skip
_NAMED = frozenset(
    name.encode()
    for name in (
        *map("".join, product(("x-", "x-auth-", "auth-", "x-current-", "x-login-"), _NOUNS)),
        *map("x-auth-{}".format, _AUTH_NOUNS),
        "x-rstudio-username", "x-proxiedentitieschain", "x-preferred-username",  # Posit, NiFi
        "x-email", "x-groups", "x-roles", "x-role", "x-logged-in-user", "x-identity-status", "x-id-token",
        "x-access-token", "x-grafana-user", "x-grafana-id", "smuser", "authuser",
        # Attributes as Shibboleth's default attribute map names them
        "eppn", "persistent-id", "targeted-id", "affiliation", "unscoped-affiliation", "entitlement",
    )
)  # fmt: skip


def is_foreign_identity(name: bytes) -> bool:
    """Whether a header of this lower-case name says who somebody is, as another gateway would."""
    return name in _NAMED or name.startswith(_FAMILIES)
