"""Everfold keeps ComfyUI jobs alive: submit, watch, and let runners carry them through."""

from everfold.client import Everfold, SubmittedJob
from projector.job import Job
from projector.states import Projection
from runner.comfyui import ComfyBackend
from runner.config import RunnerConfig, runner_name
from runner.runner import Runner
from streams.errors import EverfoldError
from streams.events import Policy
from streams.log import Log

__version__ = "0.1.0"

__all__ = [
    "ComfyBackend",
    "Everfold",
    "EverfoldError",
    "Job",
    "Log",
    "Policy",
    "Projection",
    "Runner",
    "RunnerConfig",
    "SubmittedJob",
    "__version__",
    "runner_name",
]
