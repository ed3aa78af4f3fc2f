"""After a user was erased nobody reads anything of that user again, and every proof still holds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.reading.named_assets import is_named
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.assets.listing import list_assets
from everfold.streams.errors import UserHasOpenJobs
from everfold.streams.leases.acts import acts
from everfold.streams.redis.redis_errors import command
from everfold.streams.user_files.user_files import write_user_file
from everfold.streams.user_files.user_settings import write_user_settings
from tests.everfold.running import ended, objects
from tests.support.everything import everything_stored
from tests.support.network.ciphers import OTHER_SEAL_KEY, SEAL_KEY
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WORD = "violet-hippopotamus"
BOBS = "amber-armadillo"


class Farm:
    """A simulator, a runner and a projector, all with the key, and commands on their namespace."""

    def __init__(
        self, everfold: Everfold, start: StartProgram, folder: Path, environ: dict[str, str]
    ) -> None:
        self.everfold, self._start, self.folder = everfold, start, folder
        self.stack = Stack(everfold.log, start, folder, environ=environ)
        self.archive = folder / "archive"

    def command(self, *arguments: str, **environ: str) -> Program:
        """Start `everfold ARGUMENTS`."""
        return self._start("-m", "everfold", *arguments, environ={**self.stack.names, **environ})

    async def submit(self, user: str, word: str, seconds: float = 0.1) -> str:
        graph = sleeper(seconds)
        graph["3"]["inputs"]["filename_prefix"] = word  # type: ignore[index]
        about = {"class_type": "PreviewAny", "inputs": {"source": word}, "_meta": {"title": word}}
        made = await self.everfold.submit(
            {**graph, "4": about},
            user=user,
            metadata={"about": word},
            extra_data={"extra_pnginfo": {"title": word}},
            tags=["kept"],
            validate=False,
        )
        return made.job_id

    async def ran(self, user: str, word: str) -> str:
        job_id = await self.submit(user, word)
        assert (await self.everfold.wait(job_id, timeout_s=40)).status == "succeeded"
        assets = self.everfold.assets
        await assets.put(f"bytes of {word}".encode(), name=f"{word}.txt", owner=user)
        await assets.put(b"the same of both", name=f"{word}.txt", owner=user)
        return job_id

    async def archived(self) -> None:
        await ended(self.command("archive", "run", "--everything", "--archive", str(self.archive)))

    async def printed(self, *jobs: str) -> str:
        """Return what the commands that show jobs print of all of them."""
        shown = [
            *(("jobs", "show", job) for job in jobs), *(("events", job) for job in jobs),
            *(("audit", "show", job) for job in jobs), *(("jobs", "outputs", job) for job in jobs),
            ("jobs", "ls", "--json"), ("events", "--json"), ("audit", "acts"), ("assets", "ls"),
            ("audit", "timeline"),
        ]  # fmt: skip
        return "\n".join([line for one in shown for line in await ended(self.command(*one))])

    def forget_keys(self) -> None:
        """Let the client ask for keys again: it remembers them for a minute."""
        assert self.everfold.log.sealing is not None
        self.everfold.log.sealing.forget()

    async def is_sound(self) -> None:
        """Assert that every check of what is stored passes."""
        assert (await verify(self.everfold.log)).is_sound
        await ended(self.command("audit", "verify"))
        await ended(self.command("audit", "prove"))
        await ended(self.command("projector", "rebuild"))
        await ended(self.command("audit", "verify"))


@pytest.fixture
async def farm(
    redis_url: str,
    namespace: str,
    start_program: StartProgram,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Farm]:
    environ = {"EVERFOLD_SEAL_KEY": SEAL_KEY, "EVERFOLD_ASSETS": str(tmp_path / "assets")}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with Everfold.connect(redis_url, namespace=namespace, partitions=2) as everfold:
        farm = Farm(everfold, start_program, tmp_path, environ)
        comfy = await farm.stack.comfy()
        await farm.stack.runner(comfy, assets=everfold.assets.url)
        await farm.stack.projector()
        yield farm


def files_of(folder: Path) -> bytes:
    """Return the contents of all files, those that are compressed as they are inside."""
    found = list[bytes]()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += [str(path).encode(), content := path.read_bytes()]
            with suppress(OSError, EOFError, zlib.error):
                found.append(gzip.decompress(content))
    return b"\n".join(found)


async def test_nothing_of_an_erased_user_is_found_anywhere_and_all_of_others_is(
    farm: Farm,
) -> None:
    ada, bob = await farm.ran("ada", WORD), await farm.ran("bob", BOBS)
    for user, word in (("ada", WORD), ("bob", BOBS)):
        await write_user_file(farm.everfold.log, user, f"{word}.json", word.encode())
        await write_user_settings(farm.everfold.log, user, {word: f'"{word}"'.encode()})
    await farm.archived()
    picture, *_ = await farm.everfold.output_files(ada)
    assert picture.is_stored
    before = await farm.printed(ada, bob)
    assert WORD in before
    assert BOBS in before
    assert WORD.encode() in files_of(farm.folder / "assets")
    (content,) = await objects(farm.command("erase", "--user", "ada", "--json"))
    assert (content["done"], content["jobs"], content["plain_jobs"]) == (False, 1, 0)
    assert content["user_files"] == 1
    assert content["assets"] == len((await list_assets(farm.everfold.assets, "ada")).assets) > 2
    assert content["archived_events"] == content["log_events"] != 0
    assert (await farm.everfold.get(ada)).metadata == {"about": WORD}
    await farm.is_sound()

    (erased,) = await objects(farm.command("erase", "--user", "ada", "--yes", "--json"))

    assert (erased["key"], erased["graphs"], erased["assets"]) == (True, 1, content["assets"])
    assert not (await list_assets(farm.everfold.assets, "ada")).assets
    after = await farm.printed(ada, bob)
    stored = await everything_stored(farm.everfold.log)
    kept = files_of(farm.archive) + files_of(farm.folder / "assets")
    assert WORD not in after
    assert WORD.encode() not in stored + kept
    assert BOBS in after
    assert b"the same of both" in kept
    assert f"bytes of {BOBS}".encode() in kept
    await farm.is_sound()
    farm.forget_keys()
    told = await farm.everfold.get(ada)
    assert (told.user, told.status, told.tags) == ("ada", "succeeded", ("kept",))
    assert told.metadata == {"everfold_sealed": "erased"}
    assert (await farm.everfold.get(bob)).metadata == {"about": BOBS}
    (act,) = await acts(farm.everfold.log)
    assert (act.verb, act.subject) == ("erase_user", "ada")
    await ended(farm.command("jobs", "rerun", ada), code=2)
    assert await farm.ran("ada", "a new beginning") != ada


async def test_a_sweeper_leaves_what_sealed_jobs_name_with_the_key_and_without(
    farm: Farm, redis_url: str
) -> None:
    job_id = await farm.ran("ada", WORD)
    log, page = farm.everfold.log, await list_assets(farm.everfold.assets, "ada")
    made = [asset for asset in page.assets if asset.job_id == job_id]

    assert made
    assert [await is_named(log, asset) for asset in made] == [True] * len(made)
    async with Log.open(redis_url, namespace=log.keys.namespace) as plain:
        assert [await is_named(plain, asset) for asset in made] == [None] * len(made)


async def test_an_export_holds_the_sealed_form_and_no_key(farm: Farm) -> None:
    job_id = await farm.ran("ada", WORD)
    file, other = farm.folder / "all.jsonl.gz", f"{farm.everfold.log.keys.namespace}-b"
    await ended(farm.command("archive", "export", str(file)))
    await ended(farm.command("archive", "import", str(file), "--namespace", other))

    assert WORD.encode() not in files_of(farm.folder / "archive") + gzip.decompress(
        file.read_bytes()
    )
    (there,) = await objects(farm.command("jobs", "show", job_id, "--namespace", other, "--json"))
    assert there["metadata"] == {"everfold_sealed": "erased"}
    await ended(farm.command("audit", "verify", "--namespace", other))


async def test_a_user_with_open_jobs_is_erased_once_they_are_canceled(farm: Farm) -> None:
    job_id = await farm.submit("ada", WORD, seconds=60.0)
    await farm.stack.until(job_id, "running")

    refused = farm.command("erase", "--user", "ada", "--yes")
    assert await refused.end(within_s=60) != 0
    assert "--cancel" in "\n".join(refused.error_lines)
    assert (await farm.everfold.get(job_id)).metadata == {"about": WORD}
    (erased,) = await objects(farm.command("erase", "--user", "ada", "--yes", "--cancel", "--json"))
    assert erased["canceled"] == 1
    await farm.archived()
    await farm.is_sound()
    assert (await farm.everfold.get(job_id)).status == "canceled"
    assert WORD.encode() not in await everything_stored(farm.everfold.log)


async def test_jobs_from_before_the_first_key_are_counted_as_readable(
    farm: Farm, redis_url: str
) -> None:
    async with Log.open(redis_url, namespace=farm.everfold.log.keys.namespace) as plain:
        made = await plain.submit(sleeper(0.1), user="ada", metadata={"about": WORD})
    await farm.everfold.wait(made.job_id, timeout_s=40)
    await farm.ran("ada", WORD)

    erased = await farm.everfold.erase("ada")
    assert (erased.left.jobs, erased.left.plain_jobs) == (2, 1)
    assert (await farm.everfold.get(made.job_id)).metadata == {"about": WORD}
    assert not (await farm.everfold.list(user="ada")).jobs


async def test_a_graph_that_another_user_stored_too_stays(farm: Farm, redis_url: str) -> None:
    async with Log.open(redis_url, namespace=farm.everfold.log.keys.namespace) as plain:
        graph = sleeper(0.1)
        jobs = [(await plain.submit(graph, user=user)).job_id for user in ("ada", "bob", "bob")]
        while len({plain.keys.partition_of(job) for job in jobs}) < 2:
            jobs.append((await plain.submit(graph, user="bob")).job_id)
    for job_id in jobs:
        await farm.everfold.wait(job_id, timeout_s=40)

    await farm.everfold.erase("ada")
    bobs = await farm.everfold.get(jobs[1])
    assert await farm.everfold.log.workflow(jobs[1], bobs.stored) is not None


async def test_an_open_job_of_the_user_refuses_it_in_python_too(farm: Farm) -> None:
    job_id = await farm.submit("ada", WORD, seconds=60.0)

    with pytest.raises(UserHasOpenJobs) as raised:
        await farm.everfold.erase("ada")
    assert raised.value.job_ids == (job_id,)
    await farm.everfold.cancel(job_id)


async def test_an_erasure_that_is_killed_is_finished_by_a_repeat(farm: Farm) -> None:
    log = farm.everfold.log
    for number, after_s in enumerate((0.02, 0.1), 1):
        user = f"ada{number}"
        await farm.submit(user, WORD)
        for part in range(30):
            content = f"{WORD} {number} {part}".encode()
            await farm.everfold.assets.put(content, name=WORD, owner=user)
        program = farm.command("erase", "--user", user, "--yes", "--cancel")
        await eventually(lambda: _has_begun(farm, number), 30)  # noqa: B023
        await anyio.sleep(after_s)
        program.kill()
        await ended(farm.command("erase", "--user", user, "--yes", "--cancel"))

        assert not (await list_assets(farm.everfold.assets, user)).assets
        assert WORD.encode() not in await everything_stored(farm.everfold.log)
        assert WORD.encode() not in files_of(farm.folder / "assets")
    assert await command(log.redis, "HLEN", log.keys.erasures()) == 0
    assert (await verify(log)).is_sound


async def test_doctor_says_whether_the_keys_of_users_can_be_opened(farm: Farm) -> None:
    await farm.submit("ada", WORD)
    await command(farm.everfold.log.redis, "HSET", farm.everfold.log.keys.erasures(), "a", "{}")

    for key, locked in ((SEAL_KEY, False), (OTHER_SEAL_KEY, True), ("", True)):
        program = farm.command("doctor", "--json", EVERFOLD_SEAL_KEY=key)
        rows = {str(row["what"]): row for row in await objects(program, code=1)}
        assert rows["sealing"]["found"] == "1 user with a key" + (
            ", 1 of which cannot be opened here" if locked else ""
        )
        assert ("EVERFOLD_SEAL_KEY" in str(rows["sealing"]["advice"])) == locked
        assert "repeat" in str(rows["erasing"]["advice"])


async def _has_begun(farm: Farm, number: int) -> bool:
    return f"ada{number}" in {act.subject for act in await acts(farm.everfold.log)}
