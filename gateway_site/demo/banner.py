from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

BANNER = """
authgate is running. Ctrl-C stops it; what you change is kept in {data_dir}

  Gateway      {url}/
  Admin        {url}/admin/
  Dashboard    {url}/dashboard
  Who am I     {url}/auth/me
  Keys         {url}/.well-known/jwks.json
  Health       {url}/health

  Sign in:       {sign_in}
  Admin account: admin
  Password:      {password}

Three things to try in another terminal, from {directory}:

  # 1. Anyone may call this: the demo service shows what reached it.
  curl {url}/api/public/hello

  # 2. This needs a token: 401.
  curl -i {url}/api/protected/hello

  # 3. With a token it gets through; /api/admin also needs the role admin (without it: 403).
  curl -H "Authorization: Bearer $({mint} alice --email alice@example.com --role admin --quiet)" {url}/api/admin/hello

Behind each route: /stream (events), /echo (returns the body), /slow?seconds=2.
"""
KEPT = "printed at the first start; to set a new one: {manage} changepassword admin"


def banner(*, url: str, auth_prefix: str, data_dir: Path, root: Path, password: str | None, sign_in: str) -> str:
    manage = manage_command(root)
    text = BANNER.replace("/auth/me", f"{auth_prefix}/me")
    return text.format(
        url=url,
        data_dir=data_dir,
        directory=root,
        sign_in=sign_in,
        password=password or KEPT.format(manage=manage),
        mint=f"{manage_environment(url)}{manage} mint_token",
    )


def manage_command(root: Path) -> str:
    """As one types it in the project's directory."""
    python = Path(sys.executable)
    shown = python.relative_to(root) if python.is_relative_to(root) else python
    return f"{shlex.quote(str(shown))} manage.py"


def manage_environment(url: str) -> str:
    """The assignments without which another shell would mint for another issuer or another database."""
    needed = {name: value for name, value in os.environ.items() if name.startswith("AUTHGATE_")}
    if url != "http://localhost:8000":
        needed["AUTHGATE_PUBLIC_URL"] = url
    return "".join(f"{name}={shlex.quote(value)} " for name, value in sorted(needed.items()))
