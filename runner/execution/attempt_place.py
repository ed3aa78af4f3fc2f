"""Where an attempt may still run, and the prompt that is remembered there once it is given up."""

from __future__ import annotations

from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.backend import Attempt
from everfold.streams.events.event import Submitting
from everfold.streams.leases.backends import Abandoned


class AttemptPlace(Struct, frozen=True, kw_only=True):
    """Where an attempt was sent, as its `submitting` event says."""

    attempt: int
    backend: str
    prompt_id: str
    client_id: str
    server: str = ""

    def abandoned(self, job_id: str, since_ms: int) -> Abandoned:
        """Return the attempt as it is remembered until its backend is seen again."""
        return Abandoned(
            backend=self.backend,
            server=self.server,
            job_id=job_id,
            attempt=self.attempt,
            prompt_id=self.prompt_id,
            client_id=self.client_id,
            since_ms=since_ms,
        )


def place_of(named: Job | Submitting) -> AttemptPlace:
    """Return the place of a job's present attempt, or of the one that is about to be sent."""
    return AttemptPlace(
        attempt=named.attempt,
        backend=named.backend,
        prompt_id=named.prompt_id,
        client_id=named.client_id,
        server=named.server,
    )


def attempt_at(prompt: Abandoned) -> Attempt:
    """Return the identity of an attempt that was given up."""
    return Attempt(
        job_id=prompt.job_id,
        number=prompt.attempt,
        prompt_id=prompt.prompt_id,
        client_id=prompt.client_id,
    )
