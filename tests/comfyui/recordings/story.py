"""What the adapter said about one prompt, in words that a table can hold."""

from __future__ import annotations

from everfold.runner.backend import (
    Absent,
    Accepted,
    Ambiguous,
    Attempt,
    Ended,
    Observation,
    Pending,
    Progress,
    Rejected,
    Running,
    SubmitOutcome,
    Truth,
    Unreachable,
    Withheld,
)


class Story:
    """What the adapter said about one prompt, from its submit to the end of the recording."""

    def __init__(self, attempt: Attempt, workflow: bytes) -> None:
        self.attempt = attempt
        self.workflow = workflow
        self.submits: list[SubmitOutcome] = []
        self.truths: list[str] = []
        """Each truth that differs from the one before."""
        self.truth: Truth = Unreachable("never asked")
        self.started = False
        self.progress: list[Progress] = []
        self.saved: dict[str, dict[str, object]] = {}
        self.asks = 0
        """Sightings that asked for the truth."""

    def learn(self, truth: Truth) -> None:
        self.truth = truth
        if self.truths[-1:] != [name_truth(truth)]:
            self.truths.append(name_truth(truth))

    async def watch(self, observation: Observation) -> None:
        while True:
            await self.look(observation, 1.0)

    async def look(self, observation: Observation, timeout_s: float) -> None:
        sighting = await observation.next(timeout_s)
        self.started = sighting.started
        self.asks += sighting.ask_truth
        self.saved |= {saved.node: saved.output for saved in sighting.saved}
        if sighting.progress is not None:
            self.progress.append(sighting.progress)


def name_truth(truth: Truth) -> str:
    match truth:
        case Running():
            return "running"
        case Pending(position):
            return f"pending {position}"
        case Absent(same_boot):
            return "absent, same boot" if same_boot else "absent, restarted"
        case Unreachable():
            return "unreachable"
        case Ended(succeeded=True):
            return "succeeded, reused" if truth.outputs_reused else "succeeded"
        case Ended(interrupted=True):
            return "interrupted"
        case Ended(failure=failure):
            return f"failed, {failure.code}" if failure else "failed"


def name_outcome(outcome: SubmitOutcome) -> str:
    match outcome:
        case Accepted(problems=problems):
            return f"accepted, {len(problems)} problems" if problems else "accepted"
        case Rejected(failure):
            return f"rejected, {failure.code}"
        case Ambiguous():
            return "ambiguous"
        case Withheld():
            return "withheld"
