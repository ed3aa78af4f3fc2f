"""`everfold health`: does one process work? For supervisors and checks of containers.

Rule: one line, an answer within a second, and nothing of the farm: that is `everfold doctor`.
"""

from __future__ import annotations

from typing import Annotated

import anyio

from everfold.commands.numbers import number
from everfold.commands.options import chosen
from everfold.commands.session import DEFAULT, Session
from everfold.health.asking import WITHIN_S, Health, ask_address
from everfold.streams.errors import EverfoldError, Misconfigured

Port = Annotated[
    int | None, number("port", "Ask the process that listens here with --metrics-port or --port.")
]


async def health(
    url: Annotated[
        str | None, chosen("Ask the process at this address, such as http://host:9464.")
    ] = None,
    *,
    port: Port = None,
    live: bool = False,
    runner: Annotated[
        str | None, chosen("The runner's name, or its beginning as `runner --name` has it.")
    ] = None,
    process: Annotated[str | None, chosen("The same of a projector, consumer or producer.")] = None,
    session: Session = DEFAULT,
) -> int:
    """Say in one line whether one process works; the exit code is 1 when it does not.

    With an address or --port the process itself is asked, else Redis, whether it was heard of
    lately: the runner or process that is named, or any of this machine.

    Parameters
    ----------
    live
        Ask only whether its event loop turns (/livez), not whether it can do its work (/readyz).
    """
    if url and port is not None:
        raise Misconfigured("name the process by an address or by --port, not by both")
    if url or port is not None:
        address = url or f"http://127.0.0.1:{port}"
        found = await ask_address(address, "/livez" if live else "/readyz")
    else:
        found = await _ask_redis(runner or "", process or "", session)
    mark = "\u2713" if found.is_healthy else "\u2717"
    session.tell(found, f"{mark} {found.what}: {found.found}")
    return 0 if found.is_healthy else 1


async def _ask_redis(runner: str, process: str, session: Session) -> Health:
    from everfold.health.hearing import heard_of

    found = Health(is_healthy=False, what="Redis", found=f"has not answered in {WITHIN_S:g} s")
    try:
        with anyio.move_on_after(WITHIN_S):
            async with session.log() as log:
                found = await heard_of(log, runner, process)
    except EverfoldError as error:
        found = Health(is_healthy=False, what="Redis", found=str(error))
    return found
