from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

NAME_LENGTH = 100
name_validator = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", "Letters, digits, '.', '_' and '-', beginning with a letter or digit."
)


def name_field() -> models.CharField[str, str]:
    return models.CharField(max_length=NAME_LENGTH, unique=True, validators=[name_validator])


class Upstream(models.Model):
    name = name_field()

    class Balance(models.TextChoices):
        ROUND_ROBIN = "round_robin", "round robin: in turn"
        LEAST_CONNECTIONS = "least_connections", "least connections: the least busy one"
        CLIENT = "client", "client: the same one for the same client address"
        COOKIE = "cookie", "cookie: the same one for the same browser"

    class TlsVersion(models.TextChoices):
        TLS_1_2 = "1.2", "TLS 1.2"
        TLS_1_3 = "1.3", "TLS 1.3"

    targets = models.JSONField(help_text="One per line: http://host:port, https://host:port or unix:/path.")
    balance = models.CharField(
        max_length=20, choices=Balance, default=Balance.ROUND_ROBIN, help_text="Which target a request goes to."
    )
    weights = models.JSONField(
        default=dict,
        blank=True,
        help_text="For targets that take more than their share, one per line: http://host:port = 3. Others count as 1.",
    )
    retries = models.PositiveSmallIntegerField(
        default=1,
        help_text="How often a request is sent again after it was lost without an answer. Never one with a body or "
        "with a method that changes something each time, such as POST.",
    )
    connections = models.PositiveIntegerField(
        null=True, blank=True, help_text="To each target, of each worker. Empty for no limit."
    )
    queue = models.PositiveIntegerField(
        default=100, help_text="Requests of a worker that wait when all connections are taken. Further ones get 503."
    )
    queue_timeout = models.FloatField(default=10.0, help_text="Seconds that one waits at most; then 503.")
    health_path = models.CharField(
        "path", max_length=1000, blank=True, help_text="Asked of every target by every worker. Empty for no checks."
    )
    health_status = models.JSONField(
        "status", default=list, blank=True, help_text="Statuses that are good, such as 200 204. Empty for 200 to 399."
    )
    health_interval = models.FloatField("interval", default=10.0, help_text="Seconds between two checks.")
    health_timeout = models.FloatField("time-out", default=5.0, help_text="Seconds that a check may take.")
    healthy_after = models.PositiveSmallIntegerField(
        default=2, help_text="So many good answers in a row bring a target back."
    )
    unhealthy_after = models.PositiveSmallIntegerField(
        default=3, help_text="So many bad answers in a row take a target out."
    )
    tls_ca_file = models.CharField(
        "CA file",
        max_length=1000,
        blank=True,
        help_text="Path of the PEM file with the only authorities that are trusted. Empty for those of the system.",
    )
    tls_server_name = models.CharField(
        "server name", max_length=255, blank=True, help_text="In the certificate. Empty for the host of the target."
    )
    tls_client_cert_file = models.CharField(
        "client certificate file", max_length=1000, blank=True, help_text="By which the gateway proves itself: PEM."
    )
    tls_client_key_file = models.CharField(
        "client key file", max_length=1000, blank=True, help_text="Its private key: PEM, unencrypted."
    )
    tls_min_version = models.CharField(
        "minimum version", max_length=3, blank=True, choices=TlsVersion, help_text="Empty for TLS 1.2."
    )
    connect_timeout = models.FloatField(null=True, blank=True, help_text="Seconds to connect; default 5.")
    response_timeout = models.FloatField(
        null=True, blank=True, help_text="Seconds until the response begins; default 60."
    )
    idle_timeout = models.FloatField(
        null=True, blank=True, help_text="Seconds between two pieces of a body; default 60."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Role(models.Model):
    class Admin(models.TextChoices):
        NONE = "none", "none: no access"
        API = "api", "api: as staff, over the REST API, with an access token"
        STAFF = "staff", "staff: as permitted by their account in /admin/"
        SUPERUSER = "superuser", "superuser: everything"

    name = name_field()
    description = models.CharField(max_length=500, blank=True)
    admin = models.CharField(
        "access to /admin/ or the API",
        max_length=10,
        choices=Admin,
        default=Admin.NONE,
        help_text="For people who signed in with an identity provider, as long as they have this role. "
        "Tokens and other bearer credentials never open /admin/; “api” opens the REST API to access tokens of the "
        "gateway.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RoleGrant(models.Model):
    class Operator(models.TextChoices):
        AUTHENTICATED = "authenticated", "is signed in"
        CONTAINS = "contains", "claim contains"
        EQUALS = "equals", "claim equals"

    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="grants")
    operator = models.CharField(max_length=20, choices=Operator.choices, default=Operator.AUTHENTICATED)
    provider = models.CharField(
        "signed in at",
        max_length=40,
        blank=True,
        help_text="Empty: at any identity provider, or with a bearer token. Name it where groups of another provider "
        "must not count: strangers may choose the same names there.",
    )
    claim = models.CharField(max_length=200, blank=True, help_text="Name of the claim, such as groups.")
    value = models.JSONField(null=True, blank=True, help_text="What the claim must contain or equal.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        of = f" at {self.provider}" if self.provider else ""
        if self.operator == self.Operator.AUTHENTICATED:
            return f"{self.role}: everybody signed in{of}"
        return f"{self.role}: {self.claim}{of} {self.operator} {self.value}"


class RateLimit(models.Model):
    class Per(models.TextChoices):
        CLIENT = "client", "client address"
        SUBJECT = "subject", "subject (client address when nobody is signed in)"
        ROUTE = "route", "route (all callers together)"

    name = name_field()
    rate = models.CharField(max_length=20, help_text="Such as 10/s, 300/m or 1000/h.")
    burst = models.PositiveIntegerField(default=0, help_text="Requests served at once before the rate applies.")
    per = models.CharField(max_length=10, choices=Per.choices, default=Per.CLIENT)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    class Access(models.TextChoices):
        PUBLIC = "public", "public: everybody"
        AUTHENTICATED = "authenticated", "authenticated: everybody signed in"
        ROLES = "roles", "roles: anyone with one of the roles"

    class Match(models.TextChoices):
        PREFIX = "prefix", "prefix: the path and everything below it"
        EXACT = "exact", "exact: this path only"

    class Paths(models.TextChoices):
        CANONICAL = "canonical", "canonical: refuse paths that can be read in two ways"
        AS_SENT = "as_sent", "as sent: also take them, unchanged"

    name = name_field()
    enabled = models.BooleanField(default=True, help_text="A disabled route answers 404; it never opens a looser one.")
    host = models.CharField(max_length=255, blank=True, help_text="Empty for any; *.example.com for its subdomains.")
    path = models.CharField(max_length=1000)
    match = models.CharField(max_length=10, choices=Match.choices, default=Match.PREFIX)
    paths = models.CharField(
        max_length=10,
        choices=Paths.choices,
        default=Paths.CANONICAL,
        help_text="“As sent” is for services that need %2F, //, ; or {} in paths. No other route may lie below it.",
    )
    methods = models.JSONField(default=list, blank=True, help_text="Empty for all. GET includes HEAD.")
    access = models.CharField(max_length=20, choices=Access.choices)
    roles = models.ManyToManyField(Role, blank=True, related_name="routes", help_text="Any one of them is enough.")
    issuers = models.JSONField(
        default=list,
        blank=True,
        help_text="Whose credentials are taken: names of token issuers, and “gateway” for sessions and the gateway's "
        "own tokens. Empty for all.",
    )
    scopes = models.JSONField(
        default=list, blank=True, help_text="A token must have all of these. A session has none, so it is refused then."
    )
    audience = models.CharField(
        max_length=400,
        blank=True,
        help_text="A token must be for this audience (its aud). Empty: any that its issuer's tokens may be for.",
    )
    basic = models.BooleanField(
        "offer Basic",
        default=False,
        help_text="Tell clients such as git that a service token is also taken as a password.",
    )
    mcp = models.BooleanField(
        "MCP server",
        default=False,
        help_text="The service speaks MCP: its tools and methods are allowed and refused by the rules below.",
    )
    allow = models.JSONField(
        default=list,
        blank=True,
        help_text="Empty: everything that is not denied. Otherwise only what a rule names, such as "
        "- {roles: [analyst], mcp_tools: ['read_*', list_tables], mcp_methods: [resources/read]}",
    )
    deny = models.JSONField(default=list, blank=True, help_text="In the same form. Wins over what is allowed.")
    upstream = models.ForeignKey(Upstream, null=True, blank=True, on_delete=models.PROTECT, related_name="routes")
    redirect = models.JSONField(
        null=True,
        blank=True,
        help_text="Instead of an upstream, such as {to: 'https://new.example.com', status: 308, keep_path: true, "
        "keep_query: true}.",
    )
    rate_limit = models.ForeignKey(RateLimit, null=True, blank=True, on_delete=models.PROTECT, related_name="routes")
    strip_prefix = models.BooleanField(default=False, help_text="Send the path upstream without this route's path.")
    add_prefix = models.CharField(
        max_length=1000, blank=True, help_text="Such as /v2: put before the path that the service receives."
    )
    upstream_host = models.CharField(
        max_length=255, blank=True, help_text="Sent to the service as Host; default: the target's."
    )
    preserve_host = models.BooleanField(
        default=False, help_text="Send the caller's Host upstream instead of the target's."
    )
    pass_authorization = models.BooleanField(default=False, help_text="Send the Authorization header upstream.")
    pass_headers = models.JSONField(
        default=list,
        blank=True,
        help_text="Identity headers of other gateways to send upstream just as the client wrote them, one per line, "
        "such as X-Remote-User. Any client can then claim to be anybody.",
    )
    identity_headers = models.JSONField(
        default=dict,
        blank=True,
        help_text="Further headers that tell the service who calls, such as "
        "{X-WebAuth-User: email, X-Remote-Groups: {claim: groups, join: ','}}. "
        "Values: subject, email, name, roles, access_token or a claim. No client can send these headers on any route.",
    )
    security_headers = models.JSONField(
        default=dict,
        blank=True,
        help_text="Instead of the security headers that are added where the service sends none, such as "
        "{X-Frame-Options: SAMEORIGIN, Permissions-Policy: null}. null leaves one out.",
    )
    request_headers = models.JSONField(
        null=True,
        blank=True,
        help_text="Changes of what the service receives, such as "
        "{set: {Accept-Language: de}, add: {X-Source: gateway}, remove: [Accept-Encoding]}.",
    )
    response_headers = models.JSONField(
        null=True, blank=True, help_text="Changes of what the service answers, in the same form."
    )
    cors = models.JSONField(
        "CORS",
        null=True,
        blank=True,
        help_text="Scripts of other origins that may read the answers, such as {origins: ['https://app.example.com'], "
        "methods: [GET, POST], headers: [Authorization], credentials: false, max_age: 600}. Or: pass, if the service "
        "answers preflights itself.",
    )
    connect_timeout = models.FloatField(null=True, blank=True, help_text="Seconds; default: the upstream's.")
    response_timeout = models.FloatField(null=True, blank=True, help_text="Seconds; default: the upstream's.")
    idle_timeout = models.FloatField(null=True, blank=True, help_text="Seconds; default: the upstream's.")
    total_timeout = models.FloatField(
        null=True, blank=True, help_text="Seconds for a request and its whole response; default: no limit."
    )
    compress = models.BooleanField(
        "compress responses",
        default=False,
        help_text="In gzip, where browser and service allow it. Not for pages that hold a secret beside text that "
        "another site can choose (BREACH).",
    )
    max_body = models.PositiveBigIntegerField(
        "largest body", null=True, blank=True, help_text="Bytes that a request may have; default: no limit."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class PolicyRevision(models.Model):
    """One published policy, whole. Never changed once written."""

    number = models.PositiveIntegerField(primary_key=True)
    created_at = models.DateTimeField(auto_now_add=True)
    author = models.CharField(max_length=150, help_text="User name, or the command that made it.")
    comment = models.CharField(max_length=200, blank=True)
    document = models.TextField(help_text="The PolicyDocument as JSON.")

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"revision {self.number}"
