"""Where the bytes of assets are: given, named by the environment, or in the data folder."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from everfold.assets.opening import open_blobs
from everfold.streams.errors import AssetsUnavailable, Misconfigured
from tests.support.programs.programs import StartProgram
from tests.support.sources import hash_of, some_bytes


@pytest.fixture(autouse=True)
def nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EVERFOLD_ASSETS", *(one for one in os.environ if one.startswith("AWS_"))):
        monkeypatch.delenv(name, raising=False)
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
    with pytest.raises(Misconfigured, match=r"the assets' folder|the home of no user"):
        open_blobs(place)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///files",
        "s3://a//b",
        "s3://a/../b",
        "s3://a/.",
        "s3://a/\x1b[1m",
        "s3://-a",
        "s3://ä",
    ],
)
def test_addresses_that_are_no_bucket_are_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="is no bucket: write s3://bucket/prefix"):
        open_blobs(url)


@pytest.mark.parametrize("url", ["s3://ada:pass@bucket/x", "s3://bucket/x?secret=pass", "s3://a@b"])
def test_credentials_do_not_belong_into_an_address(url: str) -> None:
    with pytest.raises(Misconfigured, match="set them by AWS_ variables") as refused:
        open_blobs(url)
    assert "pass" not in str(refused.value)


def test_a_bucket_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "everfold.assets.blob_bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(Misconfigured, match=r"pip install 'everfold\[assets\]'"):
        open_blobs("s3://bucket/prefix")


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/some/prefix/"])
def test_a_bucket_needs_credentials(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="needs credentials: set AWS_ACCESS_KEY_ID"):
        open_blobs(url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    assert open_blobs(url).url == url.rstrip("/")


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_TIMEOUT", "soon"), ("AWS_ALLOW_HTTP", "perhaps")]
)
def test_settings_of_a_bucket_that_are_wrong(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match="s3://bucket is not opened: "):
        open_blobs("s3://bucket")


@pytest.mark.anyio
async def test_a_bucket_at_http_says_which_variable_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(AssetsUnavailable, match="AWS_ALLOW_HTTP=true"):
        await open_blobs("s3://bucket").find(f"blake3:{'0' * 64}")


@pytest.mark.anyio
async def test_nothing_is_contacted_that_nobody_has_named(
    start_program: StartProgram, tmp_path: Path
) -> None:
    """A proxy stands for all addresses: each connect by HTTP would be seen there."""
    connects = list[str]()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connects.append("")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1")
    trap = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxies = {"HTTP_PROXY": trap, "HTTPS_PROXY": trap, "ALL_PROXY": trap, "NO_PROXY": ""}

    async def said(place: str, **environ: str) -> list[str]:
        arguments = ("-m", "tests.everfold.assets.bucket_program", "put", place, "10")
        program = start_program(*arguments, environ={**proxies, **environ})
        assert await program.end(60) == 0, program
        return program.lines

    stored = f"stored {hash_of(some_bytes(10))}"
    assert await said(str(tmp_path / "folder")) == [stored, "False"]
    assert await said("") == [stored, "False"]
    (refused, _) = await said("s3://bucket/prefix", AWS_REGION="eu-central-1")
    assert refused.startswith("Misconfigured s3://bucket/prefix needs credentials")
    assert connects == []
    # The same without the refusal, so that the trap is known to see it.
    await said("s3://bucket/prefix", AWS_METADATA_ENDPOINT=trap, AWS_REGION="eu-central-1")
    assert connects
    server.close()


def test_what_is_secret_in_an_address_is_not_told() -> None:
    with pytest.raises(Misconfigured) as refused:
        open_blobs("https://ada:pass@host/x?token=1234")
    assert "pass" not in str(refused.value)
    assert "1234" not in str(refused.value)
