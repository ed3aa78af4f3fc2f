"""Check the name; nothing was written."""

from __future__ import annotations

from everfold.streams.border.values import instead, shown
from everfold.streams.errors.base import EverfoldError


class Unknown(EverfoldError):
    """There is nothing of this name. Nothing was written."""


class JobUnknown(Unknown):
    """No job of this id was submitted to this namespace, or its retention has ended."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {shown(job_id)} here: not submitted, or no longer kept")
        self.job_id = job_id


class BackendUnknown(Unknown):
    """No runner has seen a backend of this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no backend {shown(name)}; {instead(name, known)}")
        self.name, self.known = name, known


class RunnerUnknown(Unknown):
    """No runner of this name is registered."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no runner {shown(name)}; {instead(name, known)}")
        self.name, self.known = name, known


class QueueUnknown(Unknown):
    """No job was ever in a queue of this name, and no runner serves it."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no queue {shown(name)}; {instead(name, known)}")
        self.name, self.known = name, known


class JobNotParked(Unknown):
    """The job is folded as it should be: there is nothing to retry or to skip."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {shown(job_id)} is not parked")
        self.job_id = job_id


class JobNotHeld(Unknown):
    """The subscription does not hold the job: there is nothing to retry or to skip."""

    def __init__(self, subscription: str, job_id: str) -> None:
        super().__init__(f"subscription {shown(subscription)} does not hold job {shown(job_id)}")
        self.subscription, self.job_id = subscription, job_id


class SubscriptionUnknown(Unknown):
    """No consumer of this name has ever run in this namespace, or it was removed."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        found = ", ".join(known) or "none"
        super().__init__(f"there is no subscription {shown(name)} here; there are: {found}")
        self.name, self.known = name, known


class AssetUnknown(Unknown):
    """No asset of this id is kept here: never stored, removed, or its time is over."""

    def __init__(self, asset: str) -> None:
        super().__init__(f"there is no asset {shown(asset)} here: not stored, or no longer kept")
        self.asset = asset


class AssetGone(Unknown):
    """An asset is known, and the store that is used here does not have its bytes."""

    def __init__(self, content_hash: str, url: str) -> None:
        super().__init__(
            f"the store {url} does not have {content_hash}: removed, or stored elsewhere; name "
            "another store with --assets or EVERFOLD_ASSETS"
        )
        self.hash, self.url = content_hash, url


class OutputUnknown(Unknown):
    """The job has no output file of this name or number, or none at all so far."""

    def __init__(self, job_id: str, wanted: str, known: tuple[str, ...]) -> None:
        job = shown(job_id)
        why = f"has no output file {wanted}; {instead(wanted, known)}" if known else "has no files"
        super().__init__(f"job {job} {why}")
        self.job_id, self.wanted, self.known = job_id, wanted, known


class OutputNotStored(Unknown):
    """The job names this file, and its bytes are not in the store: `why` is the word of its event.

    It may be on `backend` still.
    """

    def __init__(self, job_id: str, name: str, why: str, sentence: str, backend: str) -> None:
        place = f"; it was made on {backend}" if backend else ""
        super().__init__(f"{shown(name)} of job {job_id} is not stored: {sentence}{place}")
        self.job_id, self.name, self.why, self.backend = job_id, name, why, backend
