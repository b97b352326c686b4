"""What a refusal says: its status, its words and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from authgate.reason import Reason
from authgate.wire.headers import RawHeaders

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"  # of Allow


class Refusal(NamedTuple):
    status: int
    error: str  # the contract's word
    message: str  # a fixed sentence


class Answer(NamedTuple):
    """A complete response of our own."""

    status: int
    headers: RawHeaders
    body: bytes


def refusal_of(reason: Reason) -> Refusal:
    return _REFUSALS[reason]


def refusal_json(
    refusal: Refusal, reason: str, request_id: str, *, roles: Sequence[str] = (), retry_after: int = 0
) -> bytes:
    """The body of a refusal, for programs."""
    document: dict[str, str | int | Sequence[str]] = {
        "error": refusal.error, "message": refusal.message, "reason": reason, "request_id": request_id,
    }  # fmt: skip
    if roles:
        document["roles"] = roles
    if retry_after:
        document["retry_after"] = retry_after
    return json.dumps(document).encode()


# For the developer or operator who reads it, with what to do. None tells more than the reason does, which is
# known to whoever sent the request; docs/reasons.md says the rest.
_REFUSALS = {
    # Answered, not refused.
    Reason.CORS_PREFLIGHT: Refusal(204, "", ""),
    Reason.REDIRECT: Refusal(302, "", ""),
    Reason.BAD_TARGET: Refusal(
        400, "bad_request",
        "The request target is malformed or ambiguous. Send a plain path: no dot segments, no empty ones, no encoded "
        "slashes.",
    ),
    Reason.BAD_HOST: Refusal(
        400, "bad_request",
        "The Host header is missing, repeated or malformed, or not served here. Use the host of AUTHGATE_PUBLIC_URL or "
        "of a route.",
    ),
    Reason.BAD_HEADER: Refusal(
        400, "bad_request",
        "A request header is malformed. Behind a proxy, check the X-Forwarded-Proto, -Host and -Port that it sends.",
    ),
    Reason.BAD_METHOD: Refusal(405, "bad_request", "This method is not served. Use one of those in Allow."),
    Reason.BAD_FRAMING: Refusal(
        400, "bad_request",
        "The length of the request body is ambiguous. Send one Content-Length, or Transfer-Encoding: chunked.",
    ),
    Reason.BODY_TOO_LARGE: Refusal(413, "bad_request", "The request body is too large. Send less."),
    Reason.BODY_TIMEOUT: Refusal(408, "bad_request", "The request body took too long to arrive. Send it again."),
    Reason.BAD_MESSAGE: Refusal(
        400, "bad_request",
        "This address takes JSON-RPC for MCP alone: one message or batch in UTF-8 that can be read in one way only.",
    ),
    Reason.MALFORMED_CREDENTIAL: Refusal(
        400, "bad_request",
        "The Authorization header is malformed or there twice. Send one: Authorization: Bearer TOKEN.",
    ),
    Reason.NO_CREDENTIAL: Refusal(401, "unauthorized", "Sign in, or send a token as Authorization: Bearer TOKEN."),
    Reason.INVALID_TOKEN: Refusal(
        401, "unauthorized",
        "The token or session cookie is none that is taken here. Copy the token whole, get a new one (mint_token, "
        "service_token create, or where this one came from), or sign in again.",
    ),
    Reason.TOKEN_EXPIRED: Refusal(
        401, "unauthorized", "The token or session has expired. Ask for a new token or sign in again."
    ),
    Reason.TOKEN_NOT_YET_VALID: Refusal(
        401, "unauthorized", "The token is not valid yet. Compare the clocks of its maker and of the gateway."
    ),
    Reason.TOKEN_REVOKED: Refusal(
        401, "unauthorized", "The token was revoked or the session ended. Ask for a new token or sign in again."
    ),
    Reason.TOKEN_INACTIVE: Refusal(
        401, "unauthorized",
        "The issuer says that the token is not active: it is unknown there, expired or revoked. Ask for a new token.",
    ),
    Reason.ISSUER_UNCLEAR: Refusal(
        401, "unauthorized",
        "The token does not say which issuer made it, and there are several to ask. To show it to the right one alone, "
        "name that issuer on the route (issuers).",
    ),
    Reason.BAD_SIGNATURE: Refusal(
        401, "unauthorized", "The signature does not match the token: it was cut or changed. Copy it again, whole."
    ),
    Reason.UNKNOWN_KEY: Refusal(
        401, "unauthorized",
        "The token was signed with a key that is not known here: it was retired, or is not among those that the "
        "token's issuer publishes, or the token comes from another gateway or another data directory "
        "(AUTHGATE_DATA_DIR). Ask for a new token or sign in again.",
    ),
    Reason.WRONG_ISSUER: Refusal(
        401, "unauthorized",
        "The token is of an issuer that is not trusted here, or was made for another address of the gateway "
        "(AUTHGATE_PUBLIC_URL). An issuer's name counts to the letter.",
    ),
    Reason.WRONG_AUDIENCE: Refusal(
        401, "unauthorized", "The token was made for another audience. Ask for one that is made for this gateway."
    ),
    Reason.WRONG_TYPE: Refusal(
        401, "unauthorized",
        "The token is of another kind, such as an ID token. Send an access token that is made for this gateway.",
    ),
    Reason.CLAIM_MISSING: Refusal(
        401, "unauthorized",
        "The token lacks a claim that is required of its issuer's tokens. Ask the issuer for one that has it.",
    ),
    Reason.PROOF_REQUIRED: Refusal(
        401, "unauthorized",
        "The token must be bound to a key (DPoP), and be sent as Authorization: DPoP TOKEN with a proof in the DPoP "
        "header.",
    ),
    Reason.BAD_PROOF: Refusal(
        401, "unauthorized",
        "The DPoP proof does not fit the token and this request, or was used before. Make a new one for each request, "
        "with the key that the token is bound to.",
    ),
    Reason.NONCE_REQUIRED: Refusal(
        401, "unauthorized", "The DPoP proof needs a nonce. Make a new one with the nonce in the DPoP-Nonce header."
    ),
    Reason.INSUFFICIENT_SCOPE: Refusal(
        403, "forbidden", "The token lacks a scope that is needed here. Ask for a token with it."
    ),
    Reason.ISSUER_NOT_TAKEN: Refusal(
        403, "forbidden", "Credentials of this issuer are not accepted here. Ask whoever runs this site which are."
    ),
    Reason.NETWORK_NOT_ALLOWED: Refusal(
        403, "forbidden", "The token may not be used from this network. Ask whoever made it for one that may."
    ),
    Reason.ROUTE_NOT_ALLOWED: Refusal(
        403, "forbidden", "The token was made for other routes. Ask whoever made it for one that opens this one."
    ),
    Reason.MISSING_ROLE: Refusal(
        403, "forbidden", "Your roles do not allow this. Ask whoever runs this site for one that does."
    ),
    Reason.TOOL_NOT_ALLOWED: Refusal(
        403, "forbidden", "You may not call this tool. Ask whoever runs this site for a role that may."
    ),
    Reason.MCP_METHOD_NOT_ALLOWED: Refusal(
        403, "forbidden", "You may not use this method. Ask whoever runs this site for a role that may."
    ),
    Reason.BATCH_REFUSED: Refusal(
        403, "forbidden", "Not carried out, because another call of this batch was refused. Send it without that one."
    ),
    Reason.CROSS_SITE: Refusal(
        403, "forbidden",
        "The request came from another site, which may not use the session. Send it from a page of this one, or with "
        "a bearer token.",
    ),
    Reason.WRONG_DESTINATION: Refusal(
        403, "forbidden",
        "The Destination of COPY and MOVE must be on the same route as what is copied or moved. Copy it in two steps.",
    ),
    Reason.PROTECTED_BELOW: Refusal(
        403, "forbidden",
        "This would act on all that lies below, and some of it is not for you. Name what you want one by one, or list "
        "one level (Depth: 1).",
    ),
    Reason.ROUTE_INVALID: Refusal(
        403, "forbidden", "The policy of this route is not valid, so it is closed. The policy admin shows the error."
    ),
    Reason.LOCAL_SIGN_IN_CLOSED: Refusal(
        403, "forbidden", "Passwords are not accepted from here. Sign in with your identity provider."
    ),
    Reason.NO_ROUTE: Refusal(404, "not_found", "No route serves this. Check host, path and method."),
    Reason.ROUTE_DISABLED: Refusal(404, "not_found", "This route is switched off. The policy admin switches it on."),
    Reason.RATE_LIMITED: Refusal(429, "rate_limited", "Too many requests. Try again after the seconds in Retry-After."),
    Reason.NO_POLICY: Refusal(503, "unavailable", "The gateway has no policy loaded yet. Try again shortly."),
    Reason.TRUST_UNKNOWN: Refusal(
        503, "unavailable",
        "The gateway cannot read which credentials are still valid, so it accepts none. Try again shortly.",
    ),
    Reason.ISSUER_UNAVAILABLE: Refusal(
        503, "unavailable",
        "The token cannot be checked: its issuer cannot be reached, has no answer, or was asked for its keys only a "
        "moment ago. Try again shortly.",
    ),
    Reason.GATE_ERROR: Refusal(
        503, "unavailable",
        "The gateway could not check your access, so the request was refused. The log has the cause under the request "
        "ID.",
    ),
    Reason.BUSY: Refusal(
        503, "unavailable", "Too many people are requesting this page right now. Try again shortly."
    ),
    Reason.UPGRADE_NOT_SUPPORTED: Refusal(
        501, "bad_request",
        "Of the protocols that Upgrade may name, only WebSocket is carried, over HTTP/1.1. Use plain requests, such as "
        "long polling.",
    ),
    Reason.BAD_UPGRADE: Refusal(
        400, "bad_request", "The handshake of the WebSocket is not valid. Check what sends it, and proxies on its way."
    ),
    Reason.UPSTREAM_UNREACHABLE: Refusal(
        502, "bad_gateway", "The service behind the gateway cannot be reached. The log says why."
    ),
    Reason.UPSTREAM_BROKEN: Refusal(
        502, "bad_gateway", "The service behind the gateway sent an invalid response. The log says what was wrong."
    ),
    Reason.UPSTREAM_TIMEOUT: Refusal(
        504, "gateway_timeout",
        "The service behind the gateway took too long. Try again, or raise the timeouts of the route.",
    ),
    Reason.UPSTREAM_BUSY: Refusal(
        503, "unavailable",
        "The service behind the gateway has as many requests as it may have. Try again after the seconds in "
        "Retry-After.",
    ),
    # Of the server, before anybody decides.
    Reason.BAD_REQUEST: Refusal(
        400, "bad_request", "The request is not HTTP/1.1. Check scheme, port and what sends it."
    ),
    Reason.HEAD_TIMEOUT: Refusal(408, "bad_request", "The request took too long to arrive. Send it again."),
    Reason.TARGET_TOO_LONG: Refusal(414, "bad_request", "The request target is too long. Send less in the query."),
    Reason.UNKNOWN_EXPECTATION: Refusal(
        417, "bad_request", "This expectation is not supported. Send Expect: 100-continue or none."
    ),
    Reason.HEADER_TOO_LONG: Refusal(431, "bad_request", "A request header is too long. Shorten it."),
    Reason.COOKIES_TOO_LARGE: Refusal(
        431, "bad_request",
        "The cookies are too large. This answer expires all but the session's: send the request again.",
    ),
    Reason.HEADERS_TOO_LARGE: Refusal(
        431, "bad_request", "The request headers are too large. Send fewer or shorter ones."
    ),
    Reason.TOO_MANY_HEADERS: Refusal(431, "bad_request", "The request has too many headers. Send fewer."),
    Reason.HTTP_VERSION: Refusal(505, "bad_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here. Send one of them."),
    Reason.SERVER_FULL: Refusal(503, "unavailable", "The gateway is busy. Try again shortly."),
    Reason.SERVER_ERROR: Refusal(500, "unavailable", "The gateway failed to answer this request. The log says why."),
}  # fmt: skip
