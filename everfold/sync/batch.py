"""The jobs that were submitted with one `batch`, for programs without an event loop."""

from __future__ import annotations

from everfold.many_jobs import Batch as AsyncBatch
from everfold.sync.calls import Blocking, blocking, iterating
from everfold.sync.connection import Connection


class Batch(Blocking[AsyncBatch]):
    """The jobs that were submitted with one `batch`."""

    def __init__(self, connection: Connection, name: str) -> None:
        super().__init__(connection, lambda client: client.batch(name))
        self.name = name

    jobs = iterating(AsyncBatch.jobs)
    progress = blocking(AsyncBatch.progress)
    wait = blocking(AsyncBatch.wait)
    cancel = blocking(AsyncBatch.cancel)
