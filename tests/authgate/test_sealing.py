"""What is sealed with AUTHGATE_SECRET_KEY: texts and signing keys, in the formats that databases hold."""

from __future__ import annotations

import pytest

from authgate.authn import keys
from authgate.cipher import derive_key, seal, unseal
from authgate.sealing import SealBroken, seal_text, unseal_text

SECRET = "s" * 50
# As version 1 of both formats wrote them; databases are full of these.
TEXT = "XQDnpiDcnvEtnqrsvUUa05gDKLUAEQOGbdsx-qJfG8c0Bi4cpNC8pHWDEg"
KID = "OPiHrWGIOaC_r0V1tpVgNWLw6DbFbxzC7UWhaYLA83Q"
KEY = (
    "s5gyENdv35FvZb+Fkjt2DmMQeJf8tVeDSImaDsaRoRGczQHFO1rFWubRjEg0CHnWx+X1z+IKz4xWa/QYklZUP9flXdlIDSpk2sHW"
    "RXZgYa+D67tV6aXr1JMakkEAPLYaakrAPgs7VUeAoGJ99cU/wxOSNqVGQS4qsarsB9cNAyVuP/Xu/vkWwTh0CegKqvhD9LHehR14"
    "s4Pr3jiUDrhv6fdSr5XXv+Swm0FgN+xBu4RS8zPKu/KTZvH41YtBCjS03n1ojddy2iDDD8XuZ9lUAyp/XNQuOV9dQClQrpQYCKJq"
    "ZJMpP7A8u1pDpYGB/snKbZnAii/FK62IdFYKI/kF7t41sk4cU1oiHphDr9A="
)


def test_a_text_that_a_database_holds_opens(settings):
    settings.SECRET_KEY = SECRET
    assert unseal_text(TEXT, purpose="refresh token", place="sid-1") == "a refresh token"


def test_a_signing_key_that_a_database_holds_opens():
    assert keys.unseal(KEY, KID, "tokens", "ES256", (SECRET,)).kid == KID


@pytest.mark.parametrize(
    ("purpose", "place"), [("id token", "sid-1"), ("refresh token", "sid-2"), ("refresh token", "")]
)
def test_a_text_opens_for_its_own_purpose_and_in_its_own_place_alone(settings, purpose, place):
    settings.SECRET_KEY = SECRET
    with pytest.raises(SealBroken):
        unseal_text(TEXT, purpose=purpose, place=place)


@pytest.mark.parametrize("sealed", ["", "A", "é", TEXT[:-2], TEXT + "AA", "A" + TEXT[1:], "!" + TEXT, TEXT[:10]])
def test_a_changed_text_does_not_open(settings, sealed):
    settings.SECRET_KEY = SECRET
    with pytest.raises(SealBroken):
        unseal_text(sealed, purpose="refresh token", place="sid-1")


def test_a_text_does_not_open_with_another_secret(settings):
    settings.SECRET_KEY = "t" * 50
    with pytest.raises(SealBroken):
        unseal_text(TEXT, purpose="refresh token", place="sid-1")


def test_the_same_text_is_sealed_differently_each_time():
    assert seal_text("text", purpose="p") != seal_text("text", purpose="p")


@pytest.mark.parametrize("other", [{"salt": b"other"}, {"info": "other"}])
def test_what_is_sealed_for_one_purpose_is_noise_for_another(other):
    names = {"salt": b"salt", "info": "info"}
    sealed = seal(b"content", derive_key(SECRET, **names), "place")
    assert unseal(sealed, derive_key(SECRET, **names), "place") == b"content"
    with pytest.raises(SealBroken):
        unseal(sealed, derive_key(SECRET, **names | other), "place")
