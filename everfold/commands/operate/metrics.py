"""`everfold metrics`: the numbers of a namespace for Prometheus, where no gateway shows them."""

from __future__ import annotations

from dataclasses import replace

from everfold.commands.process.process import ending_signals, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.session import DEFAULT, Session

PORT = 9464


async def metrics(*, process: ProcessOptions = PROCESS, session: Session = DEFAULT) -> int:
    """Show the numbers of a namespace to Prometheus, once for all its processes.

    Of queues, servers, projectors, subscriptions and stored files; a gateway shows them, too. It
    listens on port 9464 of 127.0.0.1, unless --metrics-port and --metrics-host say otherwise, and
    needs the rights of a reader. While Redis is away it says so by `everfold_namespace_up 0`.
    """
    port = PORT if process.metrics_port is None else process.metrics_port
    async with (
        running(replace(process, metrics_port=port), session) as shown,
        session.open("reader") as everfold,
        ending_signals() as signals,
    ):
        from everfold.metrics.namespace_source import NamespaceSource
        from everfold.metrics.sampled import Sampled

        shown.sources["namespace"] = NamespaceSource(Sampled(everfold))
        await anext(signals)
    return 0
