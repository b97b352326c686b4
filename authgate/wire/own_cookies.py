"""The gateway's own cookies, told from those of applications on the same host."""

from __future__ import annotations

_SESSION, _FAMILY = "auth_token", "authgate_"
_PREFIXES = ("__Host-", "__Secure-")  # RFC 6265bis 4.1.3


class OwnCookies:
    """`secure`: the public URL is https. Then all names of ours have a prefix, and the plain ones belong to others.

    On http the prefixed names are ours too: no application can set them there, and they may be the session of a
    gateway that uses https on the same host name.
    """

    def __init__(self, *, secure: bool) -> None:
        prefixes = _PREFIXES if secure else ("", *_PREFIXES)
        self._names = frozenset(prefix + _SESSION for prefix in prefixes)
        self._families = tuple(prefix + _FAMILY for prefix in prefixes)

    def take_out(self, value: bytes) -> bytes:
        """A Cookie header without them, whatever spaces surround their names."""
        if b"auth_token" not in value and b"authgate_" not in value:
            return value
        return b";".join(pair for pair in value.split(b";") if pair not in self).strip()

    def __contains__(self, pair: bytes) -> bool:
        """Whether `name=value` (or a whole Set-Cookie) is one of them.

        Readers trim names as text, be it UTF-8 or (then not decodable here) latin-1; and a browser returns the
        nameless "=auth_token=x" as "auth_token=x".
        """
        if b"auth" not in pair:
            return False
        raw_name = pair.partition(b";")[0].strip(b" \t=").partition(b"=")[0]
        name = raw_name.decode("utf-8", "ignore").strip().strip('"')
        return name in self._names or name.startswith(self._families)
