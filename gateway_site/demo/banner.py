from __future__ import annotations

import shlex
import sys
from pathlib import Path

from gateway_site import env, places, served

BANNER = """
authgate is running. Ctrl-C stops it; what you change is kept in {data_dir}

  Gateway      {url}/{application}
  Admin        {url}/admin/
  Dashboard    {url}/dashboard
  Who am I     {url}/auth/me
  Keys         {url}/.well-known/jwks.json
  Health       {url}/health

  Sign in:       {sign_in}
  Admin account: admin
  Password:      {password}

Three things to try in another terminal{directory}{secrets}:

  # 1. Anyone may call this: the demo service shows what reached it.
  curl {url}/api/public/hello

  # 2. This needs a token: 401.
  curl -i {url}/api/protected/hello

  # 3. With a token it gets through; /api/admin also needs the role admin (without it: 403).
  curl -H "Authorization: Bearer $({mint} alice --email alice@example.com --role admin --quiet)" {url}/api/admin/hello

Behind each route: /stream (events), /echo (returns the body), /slow?seconds=2.
"""
# Without these another shell would use another database, or could not open its keys. They may hold secrets, so they
# are named and never printed.
SECRETS = ("AUTHGATE_DATABASE_URL", "AUTHGATE_SECRET_KEY")
APPLICATION = """
  Application  {url}/  on a host of its own, which browsers find on this machine"""
KEPT = "printed at the first start; to set a new one: {manage} changepassword admin"


def banner(
    *, url: str, auth_prefix: str, data_dir: Path, root: Path, password: str | None, sign_in: str, application: str = ""
) -> str:
    """`application`: the URL of the one with a host of its own; empty where the policy has it no more."""
    manage = f"{manage_environment(url, data_dir)}{manage_command(root)}"
    secrets = " and ".join(name for name in SECRETS if env.text(name, ""))
    text = BANNER.replace("/auth/me", f"{auth_prefix}/me")
    return text.format(
        url=url,
        application=APPLICATION.format(url=application) if application else "",
        data_dir=data_dir,
        directory=f", from {root}" if places.is_checkout() else "",
        secrets=f", with {secrets} set as here" if secrets else "",
        sign_in=sign_in,
        password=password or KEPT.format(manage=manage),
        mint=f"{manage} mint_token",
    )


def manage_command(root: Path) -> str:
    """As one types it in the project's directory, or anywhere where it is installed."""
    python = Path(sys.executable)
    if not places.is_checkout():
        return shlex.quote(str(python.with_name("authgate")))
    shown = python.relative_to(root) if python.is_relative_to(root) else python
    return f"{shlex.quote(str(shown))} manage.py"


def manage_environment(url: str, data_dir: Path) -> str:
    """The assignments without which another shell would mint for another issuer or another database."""
    needed = {
        "AUTHGATE_DATA_DIR": (str(data_dir), str(places.data_dir())),
        "AUTHGATE_PUBLIC_URL": (url, served.DEFAULT_URL),
    }
    return "".join(f"{name}={shlex.quote(value)} " for name, (value, default) in needed.items() if value != default)
