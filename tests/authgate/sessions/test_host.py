"""The host on which a session was made, on the row and beside the version that knows none."""

from __future__ import annotations

import json

from tests.support.gateway import Gateway

# As the former version adds a row: it names its own columns and no host.
_FORMER = """
import json, sys
from django.db import connection
from django.utils import timezone
from authgate.models.people import IdentityProvider, Person, Session
sid = {sid!r}
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO authgate_identityprovider (slug, name, kind, issuer, authorization_endpoint, "
        "token_endpoint, userinfo_endpoint, jwks_uri, end_session_endpoint, client_id, sealed_client_secret, scopes, "
        "claim_mapping, allowed_domains, further_audiences, require_verified_email, logout, ca_certificates, "
        "session_idle, session_lifetime, enabled, created_at) SELECT 'idp', '', 'oidc', '', '', '', '', '', '', 'c', "
        "'', '[]', '{{}}', '[]', '[]', %s, 'local', '', 3600, 3600, %s, %s WHERE NOT EXISTS "
        "(SELECT 1 FROM authgate_identityprovider)", [True, True, timezone.now()])
    cursor.execute("INSERT INTO authgate_person (provider_id, provider_subject, email, name, is_active, created_at) "
        "SELECT id, 'alice', '', '', %s, %s FROM authgate_identityprovider WHERE NOT EXISTS "
        "(SELECT 1 FROM authgate_person)", [True, timezone.now()])
    cursor.execute("INSERT INTO authgate_session (sid, person_id, created_at, last_seen_at, expires_at, end_reason, "
        "address, user_agent, provider_sid, claims, sealed_id_token, sealed_refresh_token) "
        "SELECT %s, id, %s, %s, %s, '', '', '', '', '{{}}', 'sealed', '' FROM authgate_person",
        [sid, *[timezone.now()] * 3])
"""
_ROWS = """
import json
from authgate.models.people import Session
print(json.dumps(sorted(Session.objects.values_list("sid", "host", "sealed_id_token"))))
"""


def test_sessions_of_the_former_version_stay_and_it_goes_on_making_them_beside_this_one(database: Gateway) -> None:
    database.manage("migrate", "authgate", "0007", "--verbosity=0")
    database.shell.run(_FORMER.format(sid="before"))
    database.manage("migrate", "--verbosity=0")
    database.shell.run(_FORMER.format(sid="beside"))
    rows = json.loads(database.shell.run(_ROWS))
    assert rows == [["before", "", "sealed"], ["beside", "", "sealed"]]
