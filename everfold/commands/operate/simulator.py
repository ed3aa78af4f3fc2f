"""`everfold simulator`: simulates a ComfyUI server, to try things with."""

from __future__ import annotations

from pathlib import Path

from everfold.streams.errors import Misconfigured
from everfold.streams.events.ranges import check_number


async def simulator(
    *,
    port: int = 8188,
    output: Path | None = None,
    speed: float = 1.0,
    ledger: Path | None = None,
) -> None:
    """Run a simulator of a ComfyUI server. Nodes that need no model run for real.

    Parameters
    ----------
    port
        The port to listen on; 0 picks a free one.
    output
        The folder for its images. Default: a temporary one.
    speed
        How many times as fast its nodes sleep: 10 makes them sleep ten times shorter.
    ledger
        A file that keeps what was executed, across restarts.
    """
    check_number("port", port)
    check_number("speed", speed)
    try:
        from everfold.simulator.__main__ import serve
    except ModuleNotFoundError as error:
        raise Misconfigured("the simulator needs: pip install 'everfold[simulator]'") from error
    await serve(port, output, speed, ledger)
