"""A Django project whose only app is django-oauth-toolkit, mounted below /o/ as in its tutorial.

`python -m tests.support.oauth_toolkit_site DATABASE PORT APPLICATIONS`, the last one as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import run
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

SETTINGS = {
    "SECRET_KEY": "of a server that holds nothing but the tokens of a test",
    "ALLOWED_HOSTS": ["127.0.0.1"],
    "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "USE_TZ": True,
    # The usual one takes a quarter of a second, for each request of each client too.
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
}


def main(database: str, port: str, applications: str) -> None:
    settings.configure(**SETTINGS, DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}})
    django.setup()
    settings.ROOT_URLCONF = urls()  # its views cannot be imported before
    call_command("migrate", verbosity=0)
    make_accounts(json.loads(applications))
    run("127.0.0.1", int(port), get_wsgi_application(), threading=True)


def urls() -> tuple[Any, ...]:
    from oauth2_provider.urls import app_name, metadata_urlpatterns

    return (
        path("o/", include("oauth2_provider.urls")),
        path("", include((metadata_urlpatterns, app_name), namespace="root")),  # for discovery by RFC 8414
    )


def make_accounts(applications: list[dict[str, Any]]) -> None:
    from django.contrib.auth.models import User
    from oauth2_provider.models import Application

    User.objects.create_user("alice", password="alice")
    for application in applications:
        Application.objects.create(client_type="confidential", **application)


if __name__ == "__main__":
    main(*sys.argv[1:])
