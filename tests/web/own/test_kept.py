"""Lists of stored files, and the state of the archive."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from everfold import Everfold
from everfold.archives.opening import open_store, remember_archive
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from tests.support.programs.stack import sleeper
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio

ASSETS = "/everfold/v1/assets"
ARCHIVE = "/everfold/v1/archive"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


async def test_stored_files_are_listed_by_user_and_kind_in_pages(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    store = everfold.assets
    for number in range(3):
        await store.put(b"text %d" % number, name=f"{number}.txt", owner="ada")
    await store.put(PNG, name="a.png", owner="bob")

    first = (await client.get(f"{ASSETS}?user=ada&limit=2")).json()
    rest = (await client.get(f"{ASSETS}?user=ada&limit=2&cursor={first['cursor']}")).json()
    pictures = (await client.get(f"{ASSETS}?kind=image&limit=1")).json()
    content = await client.get(first["assets"][0]["content"])

    names = [one["asset"]["name"] for one in (*first["assets"], *rest["assets"])]
    assert sorted(names) == ["0.txt", "1.txt", "2.txt"]
    assert rest["cursor"] is None
    assert [one["asset"]["name"] for one in pictures["assets"]] == ["a.png"]
    assert content.status_code == 200
    for query in ("cursor=x", "kind=cats", "limit=0", "owner=ada"):
        assert (await client.get(f"{ASSETS}?{query}")).status_code == 422


async def test_a_user_sees_its_own_files_only(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    _, headers = await signed(client, everfold, user="ada")
    await everfold.assets.put(b"mine", name="mine.txt", owner="ada")
    await everfold.assets.put(b"other", name="other.txt", owner="bob")

    own = (await client.get(ASSETS, headers=headers)).json()["assets"]
    others = (await client.get(f"{ASSETS}?user=bob", headers=headers)).json()["assets"]

    assert [one["asset"]["name"] for one in own] == ["mine.txt"]
    assert others == []
    assert (await client.get(ARCHIVE, headers=headers)).status_code == 403


async def test_the_archive_says_what_it_has_and_what_is_wrong(
    client: httpx.AsyncClient, everfold: Everfold, tmp_path: Path
) -> None:
    log = everfold.log
    none = (await client.get(ARCHIVE)).json()
    await everfold.cancel((await everfold.submit(sleeper(1))).job_id)
    archive = Archive(open_store(str(tmp_path / "archive")))
    await remember_archive(log, archive)
    await Archiver(log, archive).run(everything=True)

    told = (await client.get(ARCHIVE)).json()

    assert (none["place"], none["chains"]) == ("", [])
    assert (told["is_intact"], told["is_complete"]) == (True, True)
    full = [one for one in told["chains"] if one["segments"]]
    assert [(one["events"], one["newest"][0]["jobs"], one["fault"]) for one in full] == [(3, 1, "")]
    assert full[0]["head"]
