"""manage.py, with a second each for the forms and the answers of the gateway's own pages.

Run as `python -m tests.support.hasty serve …`; tests start it with `start_gateway(program=HASTY)`.
"""

from __future__ import annotations

import sys

HASTY = ("-m", "tests.support.hasty")
SECONDS = 1.0


def main() -> None:
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    from proxy.pipeline import page_answers, page_bodies

    page_answers.SECONDS = page_bodies.SECONDS = SECONDS
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
