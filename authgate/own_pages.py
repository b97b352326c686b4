"""The gateway's own pages: where each is, and what else about it the rest of the gateway has to know.

The view of a page is named in gateway_site/urls.py.
"""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    path: str  # with everything below it
    reads_form: bool = False  # of a POST; from everybody else a body is refused
    reads_documents: bool = False  # of any method; an operator's may be as large as the admin's forms
    is_personal: bool = False  # asks who the visitor is, so a session that is due is renewed first
    has_secret_address: bool = False  # the query holds what no link and no other site may learn
    limited_method: str = ""  # requests by this method count against AUTHGATE_SIGN_IN_RATE


METRICS = "/metrics"
# On its own hosts (authgate/own_hosts.py). No route may take these paths there.
ON_OWN_HOSTS = (
    Page("/admin", reads_form=True, is_personal=True),
    Page("/dashboard", is_personal=True),
    Page("/dashboard/tokens", reads_form=True, is_personal=True, limited_method="POST"),
    Page("/static"),
    Page("/health"),
    Page(METRICS),
    Page("/.well-known"),
)
RESERVED = tuple(page.path for page in ON_OWN_HOSTS)

API = "/api"  # the management API, on the public host alone
# Below AUTHGATE_AUTH_PREFIX, which belongs to the gateway on every host.
_BELOW_AUTH_PREFIX = (
    Page("/login", is_personal=True, has_secret_address=True, limited_method="GET"),  # the address of a page
    Page("/callback", is_personal=True, has_secret_address=True, limited_method="GET"),  # a code and a state
    Page("/arrive", is_personal=True, has_secret_address=True, limited_method="GET"),  # a code
    Page("/signed-out", is_personal=True, has_secret_address=True),  # a state
    Page("/logout", reads_form=True, is_personal=True, limited_method="POST"),
    Page("/sessions/end", reads_form=True, is_personal=True, limited_method="POST"),
    Page("/me", is_personal=True),
    Page("/reflection"),  # for the doctor
    Page("/backchannel-logout", reads_form=True),
    Page("/events", reads_form=True),  # security events, as a body of their own type
    Page("/frontchannel-logout", is_personal=True, limited_method="GET"),
    Page(API, reads_documents=True, is_personal=True),
)


def own_pages(auth_prefix: str) -> tuple[Page, ...]:
    return ON_OWN_HOSTS + tuple(page._replace(path=f"{auth_prefix}{page.path}") for page in _BELOW_AUTH_PREFIX)
