"""What a visitor reads on a refusal page: what happened and what to do. Never what the operator should do."""

from __future__ import annotations

from typing import NamedTuple

from authgate.reason import Reason


class Words(NamedTuple):
    heading: str
    advice: str = ""


_TELL = "If it happens again, give whoever runs this site the details below."
_LATER = f"Try again in a moment. {_TELL}"
_UNREADABLE = Words("Your browser sent something that this site cannot read.", f"Go back and try again. {_TELL}")
_CLOSED = "Ask whoever runs this site to open it, and give them the details below."

_BY_REASON = {
    Reason.BAD_TARGET: Words(
        "This address cannot be opened.",
        "It may be mistyped or incomplete. Check it, or go back and follow the link again.",
    ),
    Reason.BAD_HOST: Words("There is no site at this address.", "Check the address, or ask whoever gave it to you."),
    Reason.BODY_TOO_LARGE: Words("What you sent is too large.", "Go back and send less at once."),
    Reason.BODY_TIMEOUT: Words("What you sent took too long to arrive.", "Go back and send it again."),
    Reason.CROSS_SITE: Words(
        "This was sent from another site, so it was not accepted.",
        "If you meant to send it, open the page on this site and send it from there.",
    ),
    Reason.ROUTE_INVALID: Words("This page is closed at the moment.", _CLOSED),
    Reason.LOCAL_SIGN_IN_CLOSED: Words(
        "Passwords are not accepted from your network.", "Go back and sign in with your identity provider."
    ),
    Reason.ROUTE_DISABLED: Words("This page is switched off.", _CLOSED),
    Reason.BUSY: Words("Too many people are requesting this page right now.", "Try again in a moment."),
    Reason.UPSTREAM_BUSY: Words("Too many people are requesting this page right now.", "Try again in a moment."),
    Reason.NO_POLICY: Words("This site is not ready yet.", _LATER),
    Reason.UPSTREAM_TIMEOUT: Words("The service behind this page took too long to answer.", _LATER),
}
_BY_STATUS = {
    400: _UNREADABLE,
    401: Words("You need to sign in to see this page."),
    403: Words("You are not allowed to open this page."),
    404: Words(
        "There is no page at this address.",
        "It may be mistyped, or the page has moved. Check the address, or go back.",
    ),
    405: _UNREADABLE,
    429: Words("Too many attempts in a short time."),
    500: Words("Something went wrong here.", _LATER),
    502: Words("The service behind this page is not answering.", _LATER),
    503: Words("This page cannot be shown at the moment.", _LATER),
}
_OTHERWISE = Words("This page cannot be shown.", _TELL)

SIGNED_OUT = Words(
    "You are signed out, so the form was not accepted.",
    "Sign in in another tab, then come back to this one and reload it: your browser offers to send the form again.",
)
OUT_OF_DATE = Words("The form is out of date.", "Go back, reload the page and send it again.")
DATABASE_AWAY = Words("The database is busy or away.", "Nothing was changed. Try again in a moment.")


def words_for(status: int, reason: str) -> Words:
    """The words for the reason, or those for its status."""
    return _BY_REASON.get(reason) or _BY_STATUS.get(status, _OTHERWISE)  # type: ignore[call-overload]


def wait_in_words(seconds: int) -> str:
    """Rounded up: a visitor who comes back too early is refused again."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds > 2 * length:
            return f"{-(-seconds // length)} {unit}s"
    return "1 second" if seconds <= 1 else f"{seconds} seconds"
