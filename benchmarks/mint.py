"""Many distinct tokens of the gateway whose environment this runs in: `python -m benchmarks.mint FIRST COUNT`."""

from __future__ import annotations

import sys
import time

import django


def main(first: int, count: int) -> None:
    django.setup()
    from authgate.authn.tokens import Kind, mint
    from authgate.state.trust import load_trust

    trust, now = load_trust(), int(time.time())
    for number in range(first, first + count):
        subject = f"user-{number}"
        print(
            mint(
                trust, subject, kind=Kind.ACCESS, now=now, ttl=7200,
                email="alice@example.com", name="Alice Example", roles=["bench"],
            )
        )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
