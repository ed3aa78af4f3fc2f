"""SQL over an archive with DuckDB (extra `archive`).

Rule: every segment is checked first, and what it unpacks to. A query sees the archive and nothing
else of this machine, unless its caller allows more; it has a limit of memory, and of disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from everfold.streams.archive.archive import Archive
from everfold.streams.archive.manifest import Link
from everfold.streams.archive.segment import check_unpacked
from everfold.streams.errors import Misconfigured, Refused

if TYPE_CHECKING:
    import duckdb

VIEW = """
CREATE VIEW events AS SELECT
    CAST(regexp_extract(filename, 'partition-(\\d+)', 1) AS INTEGER) AS partition,
    i AS entry_id,
    make_timestamp(CAST(split_part(i, '-', 1) AS BIGINT) * 1000) AS time,
    j AS job_id, TRY_CAST(s AS BIGINT) AS seq, TRY_CAST(e AS BIGINT) AS epoch,
    json_extract_string(d, '$.type') AS type,
    d AS event
FROM read_json(FILES, format='newline_delimited', filename=true, compression='gzip',
    columns={i: 'VARCHAR', j: 'VARCHAR', s: 'VARCHAR', e: 'VARCHAR', p: 'VARCHAR', d: 'JSON'})
"""
"""Numbers of another program may be larger than a column takes: they are NULL."""

MEMORY_LIMIT = "1GiB"
"""Of DuckDB. What a query needs beyond that goes into a private folder for as long as it runs."""

DISK_LIMIT = "20GiB"
"""Of that folder."""


async def ask(
    archive: Archive, partitions: Iterable[int], query: str, *, allow_files: bool = False
) -> tuple[Sequence[str], Sequence[tuple[object, ...]]]:
    """Return the column names and the rows of a query over the view `events`.

    `allow_files` lets the query read and write any file, use the network and load extensions.
    Raises Refused for a query that DuckDB rejects or an empty archive, Misconfigured without the
    extra, ArchiveDamaged or ArchiveUnavailable.
    """
    try:
        import duckdb
    except ImportError as error:
        raise Misconfigured("SQL needs duckdb: pip install 'everfold[archive]'") from error
    with tempfile.TemporaryDirectory(prefix="everfold-sql-") as name:
        files = [
            await _copy(archive, link, Path(name))
            for partition in partitions
            for link in await archive.links(partition)
        ]
        if not files:
            raise Refused("the archive is empty: `everfold archive run --everything` fills it")
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": name,
            "max_temp_directory_size": DISK_LIMIT,
            # No extension is fetched by itself, whatever a query names.
            "autoinstall_known_extensions": "false",
        }
        with duckdb.connect(config=config) as database:
            try:
                return await anyio.to_thread.run_sync(_ask, database, files, query, allow_files)
            except duckdb.Error as error:
                raise Refused(f"DuckDB: {error}") from error


async def _copy(archive: Archive, link: Link, folder: Path) -> str:
    """Copy a segment, checked against its manifest, to a file that DuckDB can read."""
    content = await archive.segment(link)
    await anyio.to_thread.run_sync(check_unpacked, content, link.manifest.segment)
    place = folder / link.manifest.segment
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    return str(place)


def _ask(
    database: duckdb.DuckDBPyConnection, files: list[str], query: str, allow_files: bool
) -> tuple[Sequence[str], Sequence[tuple[object, ...]]]:
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    database.execute(VIEW.replace("FILES", f"[{listed}]"))
    if not allow_files:
        # These files stay readable for the view. None of it can be switched on again.
        database.execute(f"SET allowed_paths = [{listed}]")
        database.execute("SET autoload_known_extensions = false")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
    if not database.extract_statements(query):
        raise Refused("there is no query: write SQL, such as `select count(*) from events`")
    found = database.execute(query)
    return _names(found.description or ()), found.fetchall()


def _names(description: Iterable[Sequence[object]]) -> list[str]:
    """Return the columns' names; those that are there before get a number behind them."""
    names = list[str]()
    for column in description:
        name = str(column[0])
        while name in names:
            name += "_1"
        names.append(name)
    return names
