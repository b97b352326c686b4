"""The schema of the policy: one typed, immutable document that admin makes, files contain and workers run."""

from __future__ import annotations

from typing import Literal

import msgspec

Access = Literal["public", "authenticated", "roles"]
Match = Literal["prefix", "exact"]
Paths = Literal["canonical", "as_sent"]
LimitKey = Literal["client", "subject", "route"]
AdminAccess = Literal["none", "staff", "superuser"]
RoleAdmin = Literal["none", "api", "staff", "superuser"]
Balance = Literal["round_robin", "least_connections", "client", "cookie"]
TlsVersion = Literal["", "1.2", "1.3"]


# These objects cannot form a cycle; without gc=False every collection would walk tens of thousands of routes.
class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False):
    """A struct that refuses unknown keys: a misspelt restriction must never be silently absent."""


class Timeouts(Strict, frozen=True):
    """Timeouts in seconds: to connect, until the response head, between two pieces of a body, and for all of it."""

    connect: float | None = None
    response: float | None = None
    idle: float | None = None
    total: float | None = None  # of a route alone; without it there is none


class HealthCheck(Strict, frozen=True):
    """A request that each worker sends to every target from time to time. Without a path there is none."""

    path: str = ""
    status: tuple[int, ...] = ()  # those that are good; empty: 200 to 399
    interval: float = 10.0  # seconds
    timeout: float = 5.0
    healthy_after: int = 2  # good answers in a row
    unhealthy_after: int = 3


class UpstreamTls(Strict, frozen=True):
    """How targets with https are verified, and by what the gateway proves itself. Files are PEM."""

    ca_file: str = ""  # instead of the authorities that are trusted otherwise
    server_name: str = ""  # in the certificate; empty: the host of the target
    client_cert_file: str = ""
    client_key_file: str = ""
    min_version: TlsVersion = ""


class Upstream(Strict, frozen=True):
    targets: tuple[str, ...]
    balance: Balance = "round_robin"
    weights: dict[str, int] = {}  # of targets; 1 where none is said
    retries: int = 1  # how often a request that may be sent twice is sent again
    connections: int | None = None  # to each target, of each worker
    queue: int = 100  # requests that wait for one of these connections, in each worker
    queue_timeout: float = 10.0
    health: HealthCheck = HealthCheck()
    tls: UpstreamTls = UpstreamTls()
    timeouts: Timeouts = Timeouts()


class Role(Strict, frozen=True):
    description: str = ""
    # What it opens: /admin/ to people who sign in with this role, or the management API to access tokens with it.
    admin: RoleAdmin = "none"


class When(Strict, frozen=True):
    """A condition: either `authenticated: true`, or `claim` with exactly one of `contains` and `equals`.

    With `provider` it holds only for people who signed in there: another provider may have groups of the same names.
    """

    provider: str = ""  # slug of an identity provider; empty for every credential
    authenticated: bool = False
    claim: str = ""
    contains: str | int | None = None
    equals: str | int | bool | None = None


class Grant(Strict, frozen=True):
    role: str
    when: When


class RateLimit(Strict, frozen=True):
    """A limit: `rate` is N/s, N/m or N/h, and `burst` requests are served at once before the rate applies."""

    rate: str
    burst: int = 0
    per: LimitKey = "client"


class McpRule(Strict, frozen=True):
    """Tools and methods of an MCP server, by patterns in which `*` stands for any characters."""

    roles: tuple[str, ...] = ()  # any one of them; empty: everybody whom the route lets in
    mcp_tools: tuple[str, ...] = ()
    mcp_methods: tuple[str, ...] = ()


class IdentityValue(Strict, frozen=True):
    """What a header tells of the caller: a claim, their roles, or a user name as in Basic. Exactly one of the three."""

    claim: str = ""
    roles: bool = False
    basic_from: str = ""  # as IDENTITY_WORDS, or the name of a claim
    join: str = ""  # between the values of a list; without it a list is a JSON array


class HeaderRules(Strict, frozen=True):
    """Changes of headers: `set` replaces what was there, `add` comes beside it, `remove` takes it out."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class Cors(Strict, frozen=True):
    """Which scripts of other origins may read what the route answers (CORS)."""

    origins: tuple[str, ...]  # https://app.example.com, or "*" alone
    methods: tuple[str, ...] = ()  # those of the route, or all
    headers: tuple[str, ...] = ()  # that requests may have besides those of every form
    expose: tuple[str, ...] = ()  # that scripts may read of the answer
    credentials: bool = False  # with the session cookie
    max_age: int = 600  # seconds for which browsers remember the answer to a preflight


class Redirect(Strict, frozen=True):
    to: str  # a path, or https://host/path
    status: int = 302
    keep_path: bool = False  # what the request's path has below the route's comes behind it
    keep_query: bool = False


# What a header may tell without naming a claim.
IDENTITY_WORDS = ("subject", "email", "name", "roles", "access_token")


class Route(Strict, frozen=True):
    name: str
    path: str
    access: Access
    upstream: str = ""  # unless it redirects
    redirect: Redirect | None = None
    host: str = ""  # any
    match: Match = "prefix"
    paths: Paths = "canonical"  # as_sent: also paths without a canonical form
    methods: tuple[str, ...] = ()  # all
    roles: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()  # slugs, and "gateway" for sessions and the gateway's own tokens; empty: all
    scopes: tuple[str, ...] = ()  # a token must have all of these
    audience: str = ""  # for which an issuer's token must be; empty: any that its issuer's tokens may have
    basic: bool = False  # browsers and git are told that a service token is also taken as a password
    mcp: bool = False  # the service is an MCP server: what its callers send is read, and decided by `allow` and `deny`
    allow: tuple[McpRule, ...] = ()  # empty: everything that `deny` does not refuse
    deny: tuple[McpRule, ...] = ()  # wins
    rate_limit: str = ""  # none
    strip_prefix: bool = False
    add_prefix: str = ""  # before the path that the service receives
    preserve_host: bool = False
    upstream_host: str = ""  # instead of the target's
    pass_authorization: bool = False
    pass_headers: tuple[str, ...] = ()  # identity headers of other gateways, as the client sent them
    identity_headers: dict[str, str | IdentityValue] = {}  # what else tells the service who calls; a word or a claim
    security_headers: dict[str, str | None] = {}  # instead of the gateway's defaults; null: none
    request_headers: HeaderRules | None = None
    response_headers: HeaderRules | None = None
    cors: Cors | Literal["pass"] | None = None  # pass: the service answers preflights itself
    compress: bool = False  # responses, in gzip
    max_body: int | None = None  # bytes of a request body
    timeouts: Timeouts = Timeouts()
    enabled: bool = True


class PolicyDocument(Strict, frozen=True, omit_defaults=False):
    version: Literal[1] = 1
    upstreams: dict[str, Upstream] = {}
    roles: dict[str, Role] = {}
    grants: tuple[Grant, ...] = ()
    rate_limits: dict[str, RateLimit] = {}
    routes: tuple[Route, ...] = ()
