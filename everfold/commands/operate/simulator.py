"""`everfold simulator`: simulates a ComfyUI server, to try things with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from everfold.commands.numbers import number
from everfold.streams.errors import Misconfigured

Speed = Annotated[
    float,
    number(
        "speed", "How many times as fast its nodes sleep: 10 makes them sleep ten times shorter."
    ),
]


async def simulator(
    *,
    port: Annotated[int, number("port", "The port to listen on; 0 picks a free one.")] = 8188,
    output: Path | None = None,
    speed: Speed = 1.0,
    ledger: Path | None = None,
    without: list[str] | None = None,
    models: list[str] | None = None,
) -> None:
    """Run a simulator of a ComfyUI server. Nodes that need no model run for real.

    Parameters
    ----------
    output
        The folder for its images. Default: a temporary one.
    ledger
        A file that keeps what was executed, across restarts.
    without
        A node class that it lacks, such as ImageInvert. Repeat the option for more.
    models
        The model files of a folder, as FOLDER=FILE,FILE: loras=a.safetensors. `FOLDER=` has none.
        Repeat the option for more folders.
    """
    try:
        from everfold.simulator.__main__ import models_of, serve
        from everfold.simulator.__main__ import without as nodes_without
    except ModuleNotFoundError as error:
        raise Misconfigured("the simulator needs: pip install 'everfold[simulator]'") from error
    await serve(port, output, speed, ledger, nodes_without(without or []), models_of(models))
