"""The options of every command that runs until a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from everfold.commands.numbers import number
from everfold.commands.options import LogFormat, LogLevel

PROCESS_GROUP = Group("Process options", sort_key=8)


@Parameter(name="*", group=PROCESS_GROUP)
@dataclass(frozen=True)
class ProcessOptions:
    """How a process is watched."""

    metrics_port: Annotated[
        int | None,
        number(
            "port",
            "The port to answer /metrics, /livez and /readyz on; 0 picks a free one. Default: "
            "none. Needs the extra `metrics`.",
        ),
    ] = None
    metrics_host: Annotated[
        str, Parameter(help="The address for that; what listens elsewhere asks for no password.")
    ] = "127.0.0.1"
    log_level: LogLevel = None
    log_format: LogFormat = None


PROCESS = ProcessOptions()
