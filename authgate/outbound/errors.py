from __future__ import annotations


class ProviderError(Exception):
    """`code` is the contract's word; `detail` a sentence for the operator's log, without secrets, not for visitors."""

    def __init__(self, code: str, detail: str, *, oauth_error: str = "", is_final: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.oauth_error = oauth_error  # the provider's own word, such as "invalid_grant"
        self.is_final = is_final  # an answer and no outage: whoever asks again hears the same
        self.is_untrusted = False  # the certificate there is: asking again or the network is no remedy
        self.next = ""  # where the sign-in would have led: there the page's button goes
