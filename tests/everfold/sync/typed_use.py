"""What type checkers know of the client: `make types` checks it, and nobody runs it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from everfold import Job, Page, Recorded, SubmittedJob, sync

if TYPE_CHECKING:
    from typing import assert_type

    everfold = sync.connect("redis://localhost", namespace="shop")
    assert_type(everfold.submit({}, kind="portrait", idempotency_key="1"), SubmittedJob)
    assert_type(everfold.get("a", at_least_seq=2), Job)
    assert_type(everfold.list(user="ada"), Page)
    assert_type(everfold.watch("a"), Generator[Job, None, None])
    assert_type(everfold.batch("b").wait(timeout_s=1.0).percent, float)
    assert_type(everfold.rerun("a", {"3.seed": 7}), str)
    with everfold.follow() as batches:
        assert_type(batches, Iterator[Sequence[Recorded]])
    with everfold.open_output("a", index=0) as output, everfold.assets.open("b") as chunks:
        assert_type(output.read() + next(chunks), bytes)
    everfold.submit({}, nonsense=1)  # type: ignore[call-arg]
    everfold.get(7)  # type: ignore[arg-type]
    sync.connect(nonsense=1)  # type: ignore[call-arg]
    everfold.list(statuses=7)  # type: ignore[arg-type]
