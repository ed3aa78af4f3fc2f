"""`everfold metrics`: the numbers of a namespace for Prometheus, where no gateway shows them.

Rule: it answers as long as it runs. That Redis is away, or the namespace is not made yet, is one of
the numbers.
"""

from __future__ import annotations

from dataclasses import replace

import anyio

from everfold.commands.process.process import RunningProcess, ending_signals, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.session import DEFAULT, Session
from everfold.streams.errors import NamespaceUnknown, Unavailable
from everfold.streams.redis.retry import Backoff

PORT = 9464


async def metrics(*, process: ProcessOptions = PROCESS, session: Session = DEFAULT) -> int:
    """Show the numbers of a namespace to Prometheus, once for all its processes.

    Of queues, servers, projectors, subscriptions and stored files; a gateway shows them, too. It
    listens on port 9464 of 127.0.0.1, unless --metrics-port and --metrics-host say otherwise, and
    needs the rights of a reader. While Redis is away it says so by `everfold_namespace_up 0`.
    """
    port = PORT if process.metrics_port is None else process.metrics_port
    watched = replace(process, metrics_port=port)
    async with running(watched, session) as this, anyio.create_task_group() as tasks:
        tasks.start_soon(_follow, session, this)
        async with ending_signals() as signals:
            await anext(signals)
        tasks.cancel_scope.cancel()
    return 0


async def _follow(session: Session, this: RunningProcess) -> None:
    """Show the namespace as soon as it can be read."""
    from everfold.metrics.namespace_source import NamespaceSource, nothing_read
    from everfold.metrics.sampled import Sampled

    backoff, said = Backoff(first_s=0.2, most_s=5.0), ""
    this.sources["namespace"] = nothing_read
    while True:
        try:
            async with session.open("reader") as everfold:
                this.serves(everfold.log)
                this.sources["namespace"] = NamespaceSource(Sampled(everfold))
                this.started()
                await anyio.sleep_forever()
        except (Unavailable, NamespaceUnknown) as error:
            if said != (said := str(error)):
                session.tell({"waiting": said}, f"waits    {said}")
        await anyio.sleep(backoff.next_s())
