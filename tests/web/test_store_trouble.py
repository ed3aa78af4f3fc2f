"""A store of files that is gone, broken or not private: clients are told, and not where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from everfold import Everfold

pytestmark = pytest.mark.anyio


def lost(store: Path) -> None:
    shutil.rmtree(store)


def broken(store: Path) -> None:
    shutil.rmtree(store)
    store.write_bytes(b"no folder")


def open_to_others(store: Path) -> None:
    store.chmod(0o777)


@pytest.mark.parametrize(("trouble", "status"), [(lost, 404), (broken, 503), (open_to_others, 503)])
async def test_clients_are_not_told_where_the_store_is(
    client: httpx.AsyncClient,
    everfold: Everfold,
    caplog: pytest.LogCaptureFixture,
    trouble: object,
    status: int,
) -> None:
    stored = await everfold.assets.put(b"a text", name="text.txt")
    store = Path(everfold.assets.url)
    assert callable(trouble)
    trouble(store)

    answers = [
        await client.get(f"/api/v2/assets/{stored.asset.id}/content"),
        await client.get(
            f"/api/v2/assets/{stored.asset.id}/content", headers={"Range": "bytes=1-"}
        ),
    ]

    for answer in answers:
        assert answer.status_code == status, answer.text
        assert str(store.parent) not in answer.text
        assert "EVERFOLD" not in answer.text
        assert "file" in answer.json()["error"]["message"]
    assert str(store) in caplog.text
