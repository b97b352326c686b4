"""The hostile provider as sessions meet it: a token endpoint that answers as the test says, and logout tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.support.hostile import TOKEN, HostileProvider, Reply, Seen, sign, signing_key, unsigned

CLIENT_ID = "gateway"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class TokenProvider(HostileProvider):
    """`token_answer` makes the token endpoint's status and body from the form; `forms` are those that came."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.delay = 0.0
        self.token_answer: Callable[[dict[str, str]], tuple[int, dict[str, Any]]] = lambda form: (
            200,
            {"access_token": "a", "token_type": "Bearer"},
        )
        self.answers[TOKEN] = self._answer_form
        self.metadata = {"userinfo_endpoint": ..., "end_session_endpoint": f"{self.url}/logout?from=here"}
        self.claims = {"aud": CLIENT_ID, "email": ..., "email_verified": ..., "name": ...}

    @property
    def issuer(self) -> str:
        return self.url

    def id_token(self, nonce: Any = ..., access_token: str = "", **changes: Any) -> str:
        return super().id_token(nonce, access_token, **changes)

    def logout_token(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": f"logout-{time.time_ns()}",
            "events": {LOGOUT_EVENT: {}}, **changes,
        }  # fmt: skip
        return self.sign(claims, typ="logout+jwt")

    def event(self, name: str, subject: Any = "alice", *, header: Any = None, **changes: Any) -> str:
        """A security event, such as "caep session-revoked"; a subject that is text is a person's `sub`."""
        family, _, kind = name.rpartition(" ")
        uri = f"https://schemas.openid.net/secevent/{family}/event-type/{kind}" if family else kind
        if isinstance(subject, str):
            subject = {"format": "iss_sub", "iss": self.issuer, "sub": subject}
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": int(time.time()), "jti": f"event-{time.time_ns()}",
            "events": {uri: {}}, "sub_id": subject, **changes,
        }  # fmt: skip
        return self.sign(claims, **{"typ": "secevent+jwt", **(header or {})})

    def sign(self, claims: dict[str, Any], signer: str = "", **header: Any) -> str:
        """By our key, or by somebody's else in its name. A claim or a header member that is `...` is left out."""
        key = signing_key(kid=signer) if signer else self.key
        return sign(key, claims, {"alg": key.algorithm, "kid": self.key.kid, **header})

    def unsigned(self, claims: dict[str, Any]) -> str:
        return unsigned(self.sign(claims))

    def _answer_form(self, seen: Seen) -> Reply:
        self.forms.append(seen.form)
        time.sleep(self.delay)
        return Reply(*self.token_answer(seen.form))
