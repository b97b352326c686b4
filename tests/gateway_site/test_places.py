from __future__ import annotations

from pathlib import Path

import pytest

from gateway_site import places


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    return monkeypatch


def test_a_checkout_keeps_its_data_in_itself():
    assert places.data_dir() == places.ROOT / "var"


@pytest.mark.parametrize(
    ("home", "named", "expected"),
    [
        ("/home/ann", "", "/home/ann/.local/share/authgate"),
        ("/home/ann", "/srv/data", "/srv/data/authgate"),
        ("/home/ann", "relative", "/home/ann/.local/share/authgate"),
    ],
)
def test_an_installed_package_keeps_its_data_at_its_users(installed, home, named, expected):
    installed.setenv("HOME", home)
    installed.setenv("XDG_DATA_HOME", named)
    assert places.data_dir() == Path(expected)


def test_a_user_without_a_home_has_a_directory_of_the_system(installed):
    installed.setattr("os.path.expanduser", lambda path: path)
    assert places.data_dir() == Path("/var/lib/authgate")
