"""A folder for blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.assets.blob_folder import BlobFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> BlobFolder:
    return BlobFolder(root)
