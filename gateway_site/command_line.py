from __future__ import annotations

import os
import sys

from django.core.management import ManagementUtility, get_commands

from authgate.state.trouble import OPERATORS_TROUBLE, trouble_of

# What operators use, in the order in which they meet it; the rest is Django's.
OURS = (
    "demo", "migrate", "createsuperuser", "changepassword", "policy", "provider", "serve", "check", "doctor",
    "mint_token", "sessions", "backup", "restore",
)  # fmt: skip


class CommandLine(ManagementUtility):
    def main_help_text(self, commands_only: bool = False) -> str:
        text: str = super().main_help_text(commands_only)
        if commands_only:
            return text
        lines = [f"    {name:<16} {_help_of(self, name)}" for name in OURS if name in get_commands()]
        head, listed, rest = text.partition("Available subcommands:")
        return "\n".join([f"{head}Commands of the gateway:", "", *lines, "", f"{listed}{rest}"])


def main() -> None:
    """The command `authgate` of an installed package. Nobody's other Django project is meant, whatever is exported."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_site.settings"
    run(sys.argv)


def run(argv: list[str]) -> None:
    """What an operator has to mend around the gateway is one line, without a traceback."""
    try:
        CommandLine(argv).execute()
    except OPERATORS_TROUBLE as error:
        if "--traceback" in argv:
            raise
        sys.exit(f"authgate: {trouble_of(error).full}")


def _help_of(utility: ManagementUtility, name: str) -> str:
    return utility.fetch_command(name).help.partition("\n")[0]
