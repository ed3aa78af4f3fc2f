"""Everfold keeps ComfyUI jobs alive: submit, watch, and let runners carry them through."""

from everfold.client import Everfold, SubmittedJob
from everfold.projector.folding.states import Projection
from everfold.projector.job.job import Job
from everfold.projector.subscribing.catch_up import CatchUp, Cursor
from everfold.projector.subscribing.delivery import Delivery
from everfold.projector.subscribing.subscription import GiveUp, Subscription, TargetAway, TryLater
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig, runner_name
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError
from everfold.streams.events.event import Policy

__version__ = "0.1.0"

__all__ = [
    "CatchUp",
    "ComfyBackend",
    "Cursor",
    "Delivery",
    "Everfold",
    "EverfoldError",
    "GiveUp",
    "Job",
    "Log",
    "Policy",
    "Projection",
    "Runner",
    "RunnerConfig",
    "SubmittedJob",
    "Subscription",
    "TargetAway",
    "TryLater",
    "__version__",
    "runner_name",
]
