"""The next release of Everfold, made in a test: one more type of event, and a newer version of one.

python -m tests.support.future runner '{"redis": ..., ...}'   a runner, as in runner_program
python -m tests.support.future everfold upgrade --commit      a command
"""

from __future__ import annotations

import sys
from typing import Any, cast

import anyio
import msgspec
from msgspec.json import Decoder

from everfold.projector.job import evolve
from everfold.projector.job.job import Job
from everfold.streams.events import codec
from everfold.streams.events.event import Event, Fact

LEVEL = 2


class Annotated(Fact, frozen=True, kw_only=True, tag="job.annotated"):
    """A person has noted something about the job."""

    note: str


def become_the_future() -> None:
    """Let this process be of the next release: it reads, folds and writes more."""
    union = cast("Any", Event | Annotated)
    codec.READABLE = union
    codec._decoder = Decoder(union)
    tables = cast("Any", codec)
    tables.CURRENT_VERSION["job.started"] = 2
    tables.UPCASTS["job.started", 1] = lambda raw: {**raw, "device": "unknown"}
    tables.DOWNCASTS["job.started", 2] = lambda raw: {
        name: value for name, value in raw.items() if name != "device"
    }
    tables.INTRODUCED["job.started", 2] = LEVEL
    tables.INTRODUCED["job.annotated", 1] = LEVEL
    fold_of_today = evolve._apply

    def apply(job: Job, event: Any, now_ms: int) -> evolve.Changes:
        if isinstance(event, Annotated):
            return {"metadata": {**job.metadata, "note": event.note}}
        return fold_of_today(job, event, now_ms)

    evolve._apply = apply


def main(what: str, *arguments: str) -> int:
    become_the_future()
    if what == "everfold":
        from everfold.__main__ import run

        return run([*arguments])
    from tests.support.programs import runner_program

    options = msgspec.json.decode(arguments[0], type=runner_program.RunnerOptions)
    anyio.run(runner_program.main, options)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
