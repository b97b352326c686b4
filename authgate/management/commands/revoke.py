from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from authgate.management.asking import add_yes, confirm
from authgate.models.people import Session
from authgate.models.service_tokens import ServiceToken
from authgate.policy.powers import Machine
from authgate.request import OWN_ISSUER
from authgate.sessions.ending import end_sessions
from authgate.sessions.live import count, cut_off
from authgate.sessions.revoking import revoke_issuer, revoke_subject, sessions_from, sessions_of
from authgate.state import revocation, service_tokens

_ACTOR = Machine("revoke")
_AT_ONCE = "refused everywhere from now on; what it let in ends within a second"


class Command(BaseCommand):
    help = "Take back a token, or all that a subject or an issuer has: at once, also what is running."

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--jti", metavar="J", help="a token, by its ID, as in the access log; --jti=J if it begins with -"
        )
        what.add_argument("--subject", metavar="S", help="sessions, and tokens issued until now, of one caller (sub)")
        what.add_argument("--session", metavar="SID", help="a session, by its ID; --session=SID if it begins with -")
        what.add_argument(
            "--issuer", metavar="SLUG", help=f"tokens that an issuer has issued until now; {OWN_ISSUER}: the gateway's"
        )
        what.add_argument("--service-token", metavar="NAME", help="a service token, by its name")
        parser.add_argument("--reason", default="by command", metavar="R", help="kept beside the revocation")
        add_yes(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        [what] = [
            name for name in ("jti", "subject", "session", "issuer", "service_token") if options[name] is not None
        ]
        try:
            getattr(self, f"_{what}")(options[what], options["reason"], options["yes"])
        except ValidationError as error:
            raise CommandError(
                "\n".join(f"--{what.replace('_', '-')}: {message}" for message in error.messages)
            ) from error

    def _jti(self, jti: str, reason: str, yes: bool) -> None:
        revocation.revoke(jti, reason, _ACTOR)
        self.stdout.write(f"token {jti}: {_AT_ONCE}")

    def _session(self, sid: str, reason: str, yes: bool) -> None:
        if not end_sessions(Session.objects.filter(sid=sid), _ACTOR, reason):
            raise CommandError("there is no such session, or it has ended")
        self.stdout.write(f"session {sid}: {_AT_ONCE}")

    def _service_token(self, name: str, reason: str, yes: bool) -> None:
        if not service_tokens.end(ServiceToken.objects.filter(person=None, name=name), _ACTOR, reason):
            raise CommandError(f"there is no service token {name!r} in force")
        self.stdout.write(f"service token {name}: {_AT_ONCE}")

    def _subject(self, subject: str, reason: str, yes: bool) -> None:
        confirm(
            f"This ends {count(cut_off(sessions_of(subject)).sessions, 'live session')} of {subject}, and refuses "
            "every token that they got until now.",
            yes=yes,
        )
        ended = revoke_subject(subject, reason, _ACTOR)
        self._say_all(f"subject {subject}", ended)

    def _issuer(self, slug: str, reason: str, yes: bool) -> None:
        lines = [f"This refuses every token that {slug} has issued until now."]
        if slug == OWN_ISSUER:
            lines.append(f"It signs out {cut_off(sessions_from(slug))}.")
        confirm(*lines, yes=yes)
        ended = revoke_issuer(slug, reason, _ACTOR)
        self._say_all(f"issuer {slug}", ended)

    def _say_all(self, whose: str, ended: int) -> None:
        self.stdout.write(f"{whose}: what was issued until now is {_AT_ONCE}; {count(ended, 'session')} ended")
