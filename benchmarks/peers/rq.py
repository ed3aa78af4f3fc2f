"""RQ: one list per queue, a hash per job; the worker forks for each job."""

from __future__ import annotations

import logging

from redis import Redis
from rq import Queue, Worker

from benchmarks.peers import begin_log
from benchmarks.peers.program import redis_url, run_blocking

redis = Redis.from_url(redis_url())
queue = Queue(connection=redis)
jobs = {"note": begin_log.note, "hold": begin_log.hold}


def send(job: str, sent_ns: int) -> None:
    queue.enqueue(jobs[job], sent_ns)


def work() -> None:
    Worker([queue], connection=redis).work(logging_level=logging.WARNING)


if __name__ == "__main__":
    run_blocking(send, work)
