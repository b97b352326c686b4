"""Which command of `manage.py` this process is: settings are read before the command itself runs."""

from __future__ import annotations

import sys

# With these, the two commands that make a gateway only look at one, or take something away.
_ONLY_LOOK = {"--help", "-h", "--check", "--plan", "--remove"}


def makes_a_gateway() -> bool:
    """`migrate`, and the demo, which migrates. With a mistyped data directory any other would make a second one."""
    return _command() in ("migrate", "demo") and not _ONLY_LOOK.intersection(sys.argv)


def is_the_gateway() -> bool:
    """`serve`, and the demo, which starts it: what the gateway is called is theirs to say."""
    return _command() in ("serve", "demo")


def asks_what_is_missing() -> bool:
    return _command() in ("check", "doctor")


def _command() -> str:
    return sys.argv[1] if len(sys.argv) > 1 else ""
