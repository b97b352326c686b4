"""Whether this Python is a fast one. As a script, run by any Python, it answers for the Makefile by its exit status."""

from __future__ import annotations

import sys
import sysconfig

FAST, SLOW = 0, 3  # other statuses: too old, or it cannot make a virtualenv
NEEDS = (3, 11)


def is_optimised() -> bool:
    """Debian profiles its builds without the flag that says so: a Python of the system is taken at its word."""
    return sys.base_prefix == "/usr" or "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")


def main() -> int:
    import ensurepip  # Debian has it in python3-venv
    import venv

    if sys.version_info < NEEDS or not (ensurepip and venv):
        return 1
    return FAST if is_optimised() else SLOW


if __name__ == "__main__":
    sys.exit(main())
