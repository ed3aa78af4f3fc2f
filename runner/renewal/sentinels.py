"""What all Sentinels of a service say of its primary, for the process that renews leases.

Rule: all are asked at once, and no one of them is waited for: one that is cut off, hangs or knows
nothing costs `within_s` at most, and the newest that is named comes first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from everfold.runner.renewal.messages import Server
from everfold.runner.renewal.server_connection import ErrorReply, ServerConnection
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.sentinel_replies import (
    Named,
    in_order,
    is_agreed,
    question,
    read_named,
)

LATECOMERS_S = 0.05
"""How long the others are waited for once most agree: one may know of a newer primary."""


def named_primaries(
    sentinels: Sequence[Server], service: str, name: str, within_s: float
) -> list[Endpoint]:
    """Return whom the Sentinels name, the newest first; nobody where none answers in time."""
    answers = SimpleQueue[Named | None]()

    def ask(sentinel: Server) -> None:
        found = None
        try:
            found = _named(sentinel, service, name, within_s)
        except (OSError, ErrorReply, ValueError, TypeError):
            pass
        finally:
            answers.put(found)

    for one in sentinels:
        threading.Thread(target=ask, args=(one,), daemon=True).start()
    named, waiting, until_s = list[Named](), len(sentinels), steady_s() + within_s
    while waiting and (left_s := until_s - steady_s()) > 0:
        try:
            found = answers.get(timeout=left_s)
        except Empty:
            break
        waiting -= 1
        if found is not None:
            named.append(found)
        if is_agreed(named, len(sentinels)):
            until_s = min(until_s, steady_s() + LATECOMERS_S)
    return in_order(named)


def _named(sentinel: Server, service: str, name: str, within_s: float) -> Named | None:
    connection = ServerConnection(sentinel, name, within_s)
    try:
        address, master, *_ = question(service)
        answers = [connection.ask(*address)]
        try:
            answers.append(connection.ask(*master))
        except ErrorReply:
            answers.append(None)  # not everybody may ask for the epoch
        return read_named(answers)
    finally:
        connection.close()
