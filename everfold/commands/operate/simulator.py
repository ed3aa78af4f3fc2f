"""`everfold simulator`: a stand-in for ComfyUI, to try things with."""

from __future__ import annotations

from pathlib import Path

from everfold.streams.errors import Misconfigured


async def simulator(
    *,
    port: int = 8188,
    output: Path | None = None,
    speed: float = 1.0,
    ledger: Path | None = None,
) -> None:
    """Run a stand-in for a ComfyUI server, which runs model-free nodes for real.

    Parameters
    ----------
    port
        0 picks a free one.
    output
        Folder for its images; a temporary one if not given.
    speed
        10 makes its nodes sleep ten times shorter.
    ledger
        File that keeps what was executed, across restarts.
    """
    try:
        from everfold.simulator.__main__ import serve
    except ModuleNotFoundError as error:
        raise Misconfigured("the simulator needs: pip install 'everfold[simulator]'") from error
    await serve(port, output, speed, ledger)
