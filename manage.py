#!/usr/bin/env python
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    from django.core.management import execute_from_command_line

    from authgate.trouble import OPERATORS_TROUBLE, trouble_of

    try:
        execute_from_command_line(sys.argv)
    except OPERATORS_TROUBLE as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"authgate: {trouble_of(error).full}")


if __name__ == "__main__":
    main()
