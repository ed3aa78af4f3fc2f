"""dramatiq with the Redis broker: one list, a hash of messages in hand, no result kept."""

from __future__ import annotations

import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import begin_log
from benchmarks.peers.program import redis_url, run_blocking

THREADS = 8
"""What dramatiq's own command line starts by default."""

broker = RedisBroker(url=redis_url())
dramatiq.set_broker(broker)
jobs = {
    "note": dramatiq.actor(begin_log.note, actor_name="note"),
    "hold": dramatiq.actor(begin_log.hold, actor_name="hold"),
}


def send(job: str, sent_ns: int) -> None:
    jobs[job].send(sent_ns)


def work() -> None:
    dramatiq.Worker(broker, worker_threads=THREADS).start()
    threading.Event().wait()


if __name__ == "__main__":
    run_blocking(send, work)
