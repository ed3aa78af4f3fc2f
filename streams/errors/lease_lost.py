"""Stop this work, another runner has it; nothing was written."""

from __future__ import annotations

from everfold.streams.errors.base import EverfoldError


class LeaseLost(EverfoldError):
    """The caller's lease is over: stop this work, another runner has it or may have it."""


class Fenced(LeaseLost):
    """The job carries a newer epoch than the caller's. Nothing was written."""

    def __init__(self, job_id: str, epoch: int, current_epoch: int) -> None:
        super().__init__(f"lease {epoch} of job {job_id} is over; its epoch is {current_epoch}")
        self.job_id, self.epoch, self.current_epoch = job_id, epoch, current_epoch
