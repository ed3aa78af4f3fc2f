"""Celery with the Redis broker: one list, acknowledged on receipt, no result kept."""

from __future__ import annotations

from celery import Celery

from benchmarks.peers import begin_log
from benchmarks.peers.program import redis_url, run_blocking

app = Celery("bench", broker=redis_url())
jobs = {
    "note": app.task(name="note")(begin_log.note),
    "hold": app.task(name="hold")(begin_log.hold),
}


def send(job: str, sent_ns: int) -> None:
    jobs[job].delay(sent_ns)


def work() -> None:
    app.worker_main(["worker", "--loglevel", "WARNING"])


if __name__ == "__main__":
    run_blocking(send, work)
