"""Where the bytes of assets are: given, named by the environment, or in the data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.assets.opening import open_blobs
from everfold.streams.errors import Misconfigured


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVERFOLD_ASSETS", raising=False)
    monkeypatch.setenv("EVERFOLD_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("named", ["", "named"])
def test_what_is_given_comes_first(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVERFOLD_ASSETS", named and str(tmp_path / named))
    other = tmp_path / (named or "data/assets")

    assert open_blobs(tmp_path / "given").url == str(tmp_path / "given")
    assert open_blobs(f"file://{tmp_path}/given").url == str(tmp_path / "given")
    assert open_blobs().url == open_blobs("").url == str(other)
    assert not other.exists()


def test_a_path_is_made_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert open_blobs("a").url == str(tmp_path / "a")
    assert open_blobs("~/a").url == open_blobs("file://~/a").url == str(tmp_path / "home" / "a")


@pytest.mark.parametrize(
    "place",
    [
        "ftp://host/path",
        "http://host/x",
        "gs://bucket",
        "file://host/x",
        "://",
        "memory:///",
        "x://",
    ],
)
def test_other_addresses_are_refused(place: str) -> None:
    with pytest.raises(Misconfigured, match="write a folder's path, or s3://bucket/prefix"):
        open_blobs(place)


@pytest.mark.parametrize("place", ["a\0b", "~nobody-of-this-name/x"])
def test_paths_that_cannot_be_are_refused(place: str) -> None:
    with pytest.raises(Misconfigured, match="the assets' folder"):
        open_blobs(place)


def test_what_is_secret_in_an_address_is_not_told() -> None:
    with pytest.raises(Misconfigured) as refused:
        open_blobs("https://ada:pass@host/x?token=1234")
    assert "pass" not in str(refused.value)
    assert "1234" not in str(refused.value)
