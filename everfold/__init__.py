"""Everfold keeps ComfyUI jobs alive: submit, watch, and let runners carry them through."""

from everfold.client import Everfold, SubmittedJob
from projector.job import Job
from projector.states import Projection
from projector.subscribing.catch_up import CatchUp, Cursor
from projector.subscribing.delivery import Delivery
from projector.subscribing.subscription import GiveUp, Subscription, TargetAway, TryLater
from runner.comfyui import ComfyBackend
from runner.config import RunnerConfig, runner_name
from runner.runner import Runner
from streams.errors import EverfoldError
from streams.events import Policy
from streams.log import Log

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
