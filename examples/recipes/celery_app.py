"""Celery: a task that makes a picture and returns where its files are."""

from __future__ import annotations

import os

from celery import Celery

from everfold import sync
from examples.workflow import small_picture

app = Celery("pictures", broker=os.environ.get("CELERY_BROKER", "memory://"))
# Each worker process opens its own at its first task: Celery forks after this line.
everfold = sync.connect()


@app.task(acks_late=True)  # type: ignore[untyped-decorator]  # Celery brings no types
def make_picture(order: str) -> list[str]:
    # A task that runs again after its worker died finds the job that the first run submitted.
    made = everfold.submit(small_picture(), idempotency_key=order)
    job = everfold.wait(made.job_id, timeout_s=600)
    if job.status != "succeeded":
        raise RuntimeError(f"{job.job_id} {job.status}: {job.error and job.error.message}")
    return [file.name for file in everfold.output_files(job.job_id)]
