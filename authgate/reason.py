"""Why a request was let in or refused."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a request was let in or refused; one value per outcome, stable, shown to callers and in logs."""

    # let in
    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    ROLE = "role"
    # let in, and answered by the gateway itself
    CORS_PREFLIGHT = "cors_preflight"
    REDIRECT = "redirect"
    # 400: the request itself is in doubt
    BAD_TARGET = "bad_target"
    BAD_HOST = "bad_host"
    BAD_HEADER = "bad_header"
    BAD_METHOD = "bad_method"
    BAD_FRAMING = "bad_framing"
    BAD_REQUEST = "bad_request"
    BAD_MESSAGE = "bad_message"
    MALFORMED_CREDENTIAL = "malformed_credential"
    # 413, 408: more than the gateway reads itself, or in more time
    BODY_TOO_LARGE = "body_too_large"
    BODY_TIMEOUT = "body_timeout"
    # 408, 414, 417, 431, 505: the server makes no request of it
    HEAD_TIMEOUT = "head_timeout"
    TARGET_TOO_LONG = "target_too_long"
    UNKNOWN_EXPECTATION = "unknown_expectation"
    HEADER_TOO_LONG = "header_too_long"
    COOKIES_TOO_LARGE = "cookies_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    TOO_MANY_HEADERS = "too_many_headers"
    HTTP_VERSION = "http_version"
    # 401: nobody, or a credential that proves nothing
    NO_CREDENTIAL = "no_credential"
    INVALID_TOKEN = "invalid_token"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_REVOKED = "token_revoked"
    TOKEN_INACTIVE = "token_inactive"
    ISSUER_UNCLEAR = "issuer_unclear"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_TYPE = "wrong_type"
    CLAIM_MISSING = "claim_missing"
    PROOF_REQUIRED = "proof_required"
    BAD_PROOF = "bad_proof"
    NONCE_REQUIRED = "nonce_required"
    # 403: somebody, but not this
    MISSING_ROLE = "missing_role"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    ISSUER_NOT_TAKEN = "issuer_not_taken"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    MCP_METHOD_NOT_ALLOWED = "mcp_method_not_allowed"
    BATCH_REFUSED = "batch_refused"
    NETWORK_NOT_ALLOWED = "network_not_allowed"
    ROUTE_NOT_ALLOWED = "route_not_allowed"
    CROSS_SITE = "cross_site"
    WRONG_DESTINATION = "wrong_destination"
    PROTECTED_BELOW = "protected_below"
    ROUTE_INVALID = "route_invalid"
    LOCAL_SIGN_IN_CLOSED = "local_sign_in_closed"
    # 404
    NO_ROUTE = "no_route"
    ROUTE_DISABLED = "route_disabled"
    # 429, 503, 500
    RATE_LIMITED = "rate_limited"
    NO_POLICY = "no_policy"
    TRUST_UNKNOWN = "trust_unknown"
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    GATE_ERROR = "gate_error"
    BUSY = "busy"
    SERVER_FULL = "server_full"
    SERVER_ERROR = "server_error"
    # 501: let in, but the gateway does not carry it
    UPGRADE_NOT_SUPPORTED = "upgrade_not_supported"
    BAD_UPGRADE = "bad_upgrade"
    # 502, 503, 504: let in, but the service behind failed
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_BROKEN = "upstream_broken"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_BUSY = "upstream_busy"


BY_GATEWAY = frozenset((Reason.CORS_PREFLIGHT, Reason.REDIRECT))
LETTING_IN = frozenset((Reason.PUBLIC, Reason.AUTHENTICATED, Reason.ROLE))
