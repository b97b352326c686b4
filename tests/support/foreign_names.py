"""Identity headers as the documentation of other gateways, and of services behind them, spells them."""

from __future__ import annotations

_WELL_KNOWN = """
Remote-User Remote-Groups Remote-Name Remote-Email Remote-Role Remote-Ident
X-Remote-User X-Remote-Group X-Remote-Groups X-Remote-Name X-Remote-Email X-Remote-Uid X-Remote-Extra-Scopes
X-WEBAUTH-USER X-WEBAUTH-EMAIL X-WEBAUTH-NAME X-WEBAUTH-FULLNAME X-WEBAUTH-GROUPS X-WEBAUTH-ROLE
X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username
X-Auth-Request-Access-Token X-OAuth2-Proxy-ID-Token
X-Auth-User X-Auth-Username X-Auth-Userid X-Auth-Email X-Auth-Name X-Auth-Groups X-Auth-Roles X-Auth-Subject
X-Auth-Id X-Auth-Given-Name X-Auth-Family-Name X-Auth-Audience X-Auth-ExpiresIn X-Auth-User-Groups X-Auth-User-New
X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token
X-Forwarded-Login X-Forwarded-Name X-Forwarded-Mail X-Forwarded-Roles X-Forwarded-Client-Cert
X-Forwarded-Tls-Client-Cert X-Forwarded-Tls-Client-Cert-Info
X-Authenticated-User X-Authenticated-Userid X-Authenticated-Scope X-Authenticated-Groups
X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email X-Pomerium-Authenticated-User-Id
X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-Iap-Jwt-Assertion
X-Endpoint-API-UserInfo X-Apigateway-Api-Userinfo X-AppEngine-User-Email X-AppEngine-User-Is-Admin
Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email
X-authentik-username X-authentik-groups X-authentik-email X-authentik-uid X-authentik-jwt X-authentik-entitlements
X-Authelia-User
X-Ms-Client-Principal X-Ms-Client-Principal-Id X-Ms-Client-Principal-Name X-Ms-Client-Principal-Idp
X-Ms-Token-Aad-Id-Token X-Ms-Token-Aad-Access-Token X-ARR-ClientCert
Tailscale-User-Login Tailscale-User-Name Tailscale-User-Profile-Pic Tailscale-App-Capabilities
X-Vouch-User X-Vouch-Success X-Vouch-IdP-Claims-Groups X-Vouch-IdP-IdToken
X-Ssl-Client-Verify X-Ssl-Client-Cert X-Ssl-Client-DN X-Ssl-Client-CN X-Ssl-Client-S-Dn X-SSL-Cert X-SSL-Issuer
Ssl-Client-Verify Ssl-Client-Cert Ssl-Client-Subject-Dn Ssl-Client-Issuer-Dn SSL-CLIENT-S-DN-CN
X-Client-Cert X-Client-Certificate X-Client-Verify X-Client-Verified X-Client-DN X-Client-CN X-Client-S-DN
Client-Cert Client-Cert-Chain X-Tls-Client-Subject
X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken X-Amzn-Mtls-Clientcert X-Amzn-Ava-User-Context
X-Amzn-Request-Context X-Amzn-Lambda-Context
Oidc-Claim-Sub Oidc-Claim-Email OIDC-access-token OIDC-id-token-payload X-Oidc-User
X-RStudio-Username X-ProxiedEntitiesChain X-Preferred-Username
Mellon-Name-Id MELLON-uid Shib-Session-ID Shib-Identity-Provider X-Saml-User eppn persistent-id affiliation
X-Token-Subject X-Token-User-Name X-Token-User-Email X-Token-User-Roles
X-Jwt-Payload X-Jwt-Claim-Sub X-JWT-Assertion Sec-Istio-Auth-Userinfo
X-Consumer-ID X-Consumer-Username X-Consumer-Custom-ID X-Consumer-Groups X-Credential-Identifier
X-Credential-Username X-Anonymous-Consumer
X-Userinfo X-ID-Token X-Access-Token
X-Grafana-User X-Grafana-Id X-Proxy-User X-Proxy-Roles X-SSO-User X-Tinyauth-User X-Organizr-User
kubeflow-userid kubeflow-groups Teleport-Jwt-Assertion
SM-USER SM-UNIVERSALID SMUSER iv-user iv-groups iv-creds am-eai-user-id OAM-REMOTE-USER OSSO-User-Dn
X-User X-User-Id X-User-Name X-User-Email X-User-Groups X-User-Roles X-User-Role X-Username X-Usergroup X-Userid
X-Identity X-Principal X-Subject X-Roles X-Groups X-Email X-Current-User X-Logged-In-User X-Identity-Status
"""

# Credentials that a service checks itself, and what clients say about themselves: none of it is a gateway's word.
_LEGITIMATE = """
X-Auth-Token X-Auth-Key X-Auth X-Auth-Signature X-Subject-Token X-Service-Token X-API-Key X-Token X-CSRF-Token
X-XSRF-Token Private-Token X-Gitlab-Token X-Vault-Token X-Consul-Token X-Amz-Security-Token X-Goog-Api-Key
X-Goog-User-Project X-Ms-Version X-Ms-Date X-Ms-Client-Request-Id X-Amzn-Trace-Id X-Amz-Date X-Amz-Content-Sha256
X-User-Agent X-User-Timezone X-Client-Id X-Client-Version X-Client-Name X-Client-Info X-Client-Data
X-Client-Request-Id X-Grafana-Org-Id X-Grafana-Device-Id X-Scope-OrgID X-Requested-With X-Hub-Signature-256
X-Github-Event X-Session-Token X-Proxy-Id Remote Remoteness Oidc User-Agent Client-Id Cf-Ray Server-Timing
Identity Subject Sentry-Trace Sec-Fetch-User X-Trino-User X-ClickHouse-User X-Hasura-Role X-SL-Version
X-Tokens Tailscale Ssl X-Jwt X-Email-Count X-Rolex Issuer Smart-Id
"""

WELL_KNOWN = tuple(_WELL_KNOWN.split())
LEGITIMATE = tuple(_LEGITIMATE.split())
