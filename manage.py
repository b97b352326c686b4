#!/usr/bin/env python
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OURS = ("authgate", "gateway_site", "proxy")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    try:
        from gateway_site.command_line import run

        run(sys.argv)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS or "--traceback" in sys.argv:
            raise
        sys.exit(f"authgate: {error.name} is not installed for {sys.executable}: {what_to_do()}")


def what_to_do() -> str:
    here = ROOT / ".venv" / "bin" / "python"
    python = os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)
    first = "use" if here.exists() else f"run `make setup` in {ROOT} first, then"
    return f"{first} {python} {sys.argv[0]}"


if __name__ == "__main__":
    main()
