"""`python -m everfold.simulator --port 0 --output DIR`: one simulator as a process.

Prints `listening on URL` when it answers; ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from everfold.simulator.nodes.catalogue import NODES
from everfold.simulator.nodes.folders import MODELS
from everfold.simulator.nodes.node import Node
from everfold.simulator.simulator import simulate


def main(arguments: list[str] | None = None) -> None:
    """Parse the arguments, those of the process by default, and serve."""
    parser = argparse.ArgumentParser(prog="everfold simulator")
    parser.add_argument("--port", type=int, default=8188, help="0 picks a free one")
    parser.add_argument("--output", type=Path, help="folder for images; temporary if not given")
    parser.add_argument("--speed", type=float, default=1.0, help="10 sleeps ten times shorter")
    parser.add_argument("--ledger", type=Path, help="file that keeps what was executed")
    parser.add_argument("--quiet", action="store_true", help="say nothing but the address")
    parser.add_argument(
        "--without", action="append", default=[], metavar="CLASS", help="a node class it lacks"
    )
    parser.add_argument(
        "--models", action="append", metavar="FOLDER=FILE,FILE", help="the models of a folder"
    )
    parser.add_argument("--old", action="store_true", help="without the routes of newer servers")
    options = parser.parse_args(arguments)
    nodes, models = without(options.without), models_of(options.models)
    logging.basicConfig(level=logging.ERROR if options.quiet else logging.WARNING)
    with contextlib.suppress(KeyboardInterrupt):
        serving = serve(
            *(options.port, options.output, options.speed, options.ledger, nodes, models),
            is_old=options.old,
        )
        asyncio.run(serving)


def without(classes: Collection[str]) -> dict[str, Node]:
    """Return the node classes of a simulator that lacks some."""
    return {name: node for name, node in NODES.items() if name not in classes}


def models_of(folders: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the models by folder, each given as FOLDER=FILE,FILE; the usual ones for None.

    What is given replaces the usual files of that folder; `FOLDER=` has none.
    """
    given = dict[str, list[str]]()
    for folder in folders or ():
        name, _, files = folder.partition("=")
        given[name] = [file for file in files.split(",") if file]
    return {**MODELS, **given}


async def serve(
    port: int,
    output: Path | None,
    speed: float,
    ledger: Path | None,
    nodes: Mapping[str, Node] = NODES,
    models: Mapping[str, Sequence[str]] = MODELS,
    *,
    is_old: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; port 0 picks a free one.

    Raises SystemExit when it cannot listen on the port, or write into its folders.
    """
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        async with simulate(
            output,
            port=port,
            speed=speed,
            ledger=ledger,
            nodes=nodes,
            models=models,
            is_old=is_old,
        ) as simulator:
            sys.stdout.write(f"listening on {simulator.url}\n")
            sys.stdout.flush()
            await ended.wait()
    except OSError as error:
        what = f"write to {error.filename}" if error.filename else f"listen on port {port}"
        raise SystemExit(f"the simulator cannot {what}: {error.strerror}") from error


if __name__ == "__main__":
    main()
