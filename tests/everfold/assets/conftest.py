"""A real S3-compatible server, and a bucket of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.assets.blob_bucket import BlobBucket
from tests.support.s3_server import S3Server, s3_server, settings


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def named_server(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The server, which the environment names; what is sent there waits below `tmp_path`."""
    for name, value in settings(s3.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "waiting"))
    return s3


@pytest.fixture
def bucket(named_server: S3Server) -> BlobBucket:
    return BlobBucket(f"s3://{named_server.new_bucket()}/some/prefix")
