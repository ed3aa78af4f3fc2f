"""Store your own position in the log, in the same transaction as your data.

However often this program is killed, it writes each event once and misses none. Needs REDIS_URL (or
`everfold up` on this machine).

    python -m examples.own_cursor [FILE]
"""

from __future__ import annotations

import sqlite3
import sys

import anyio

from everfold import CatchUp, Everfold, read_cursor


async def main(path: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE TABLE IF NOT EXISTS events (job TEXT, seq INTEGER, type TEXT);"
        "CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT);"
    )
    stored = database.execute("SELECT cursor FROM place").fetchone()
    cursor = read_cursor(stored[0]) if stored else None
    print("continues after the stored position" if cursor else "starts at the beginning")
    async with Everfold.connect() as everfold, CatchUp(everfold.log, cursor) as feed:
        async for delivery in feed:
            record = delivery.record
            with database:
                row = (record.job_id, record.seq, delivery.type)
                database.execute("INSERT INTO events VALUES (?, ?, ?)", row)
                database.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (str(feed.cursor),))
            print(*row)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "events.db")
