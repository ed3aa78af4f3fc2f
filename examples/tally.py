"""A subscription as a class: takes many events at a time, and skips those it has counted.

It counts events by type in a SQLite file. It stores each job's sequence number in the same
transaction, so that an event that is delivered again is counted once. Needs REDIS_URL
(or `everfold up` on this machine).

    python -m examples.tally [FILE]
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence

import anyio

from everfold import Delivery, Everfold, Subscription


class Tally(Subscription):
    def __init__(self, path: str) -> None:
        super().__init__("tally", batch=500, retry_s=(1.0, 10.0))
        self._database = sqlite3.connect(path)
        self._database.executescript(
            "CREATE TABLE IF NOT EXISTS counts (type TEXT PRIMARY KEY, count INTEGER);"
            "CREATE TABLE IF NOT EXISTS seen (job TEXT PRIMARY KEY, seq INTEGER);"
        )

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        with self._database:
            for delivery in deliveries:
                self._count(delivery)
        for row in self._database.execute("SELECT type, count FROM counts ORDER BY type"):
            print(*row)

    def _count(self, delivery: Delivery) -> None:
        seen = self._database.execute(
            "INSERT INTO seen VALUES (?1, ?2) ON CONFLICT (job) DO UPDATE SET seq = ?2 "
            "WHERE seq < ?2",
            (delivery.record.job_id, delivery.record.seq),
        )
        if seen.rowcount:
            self._database.execute(
                "INSERT INTO counts VALUES (?, 1) "
                "ON CONFLICT (type) DO UPDATE SET count = count + 1",
                (delivery.type,),
            )


async def main(path: str) -> None:
    async with Everfold.connect() as everfold:
        await everfold.consume(Tally(path))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "tally.db")
