"""A bucket of its own for each test."""

from __future__ import annotations

import pytest

from everfold.assets.blob_bucket import BlobBucket
from tests.support.network.s3_server import S3Server


@pytest.fixture
def bucket(named_server: S3Server) -> BlobBucket:
    return BlobBucket(f"s3://{named_server.new_bucket()}/some/prefix")
