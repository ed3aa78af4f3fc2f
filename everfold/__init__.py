"""Everfold keeps ComfyUI jobs alive: submit, watch, and let runners carry them through.

Rule: a name is imported when it is first used, so that a program loads what it uses and no more.
docs/API.md explains each of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everfold.assets.getting import OpenOutput, SavedFile
    from everfold.assets.input_rules import InputRules
    from everfold.assets.job_files import JobFile, Thumbnail
    from everfold.client import Everfold, to_json
    from everfold.embedded import embedded_server, find_server
    from everfold.erasing.erasing import Erased
    from everfold.erasing.seal_cipher import environment_cipher
    from everfold.erasing.user_content import UserContent
    from everfold.many_jobs import Batch, BatchProgress, ManyDone
    from everfold.operations import BackendStatus, RunnerStatus
    from everfold.projector.config import ProjectorConfig
    from everfold.projector.folding.custom_projection import Projection
    from everfold.projector.folding.rebuild import Rebuild, Rebuilt
    from everfold.projector.job.job import Job
    from everfold.projector.job.job_filter import JobFilter
    from everfold.projector.job.words import AttemptState, Priority, Status
    from everfold.projector.projector import Projector
    from everfold.projector.reading.queries import Page
    from everfold.projector.subscribing.catch_up import CatchUp, Cursor, read_cursor
    from everfold.projector.subscribing.delivery import Delivery
    from everfold.projector.subscribing.subscription import (
        GiveUp,
        Subscription,
        TargetAway,
        TryLater,
    )
    from everfold.queue_operations import QueueStatus
    from everfold.runner.backend import Backend
    from everfold.runner.comfyui.backend import ComfyBackend
    from everfold.runner.config import RunnerConfig, runner_name
    from everfold.runner.runner import Runner
    from everfold.streams.appending.log import Log
    from everfold.streams.appending.outcomes import Appended, Lease, LeaseOver, Renewed
    from everfold.streams.assets.asset import Asset
    from everfold.streams.assets.asset_store import AssetStore, Stored
    from everfold.streams.border.secrets import Secret
    from everfold.streams.errors import (
        AccessMissing,
        ArchiveDamaged,
        ArchiveForeign,
        ArchiveUnavailable,
        AssetDamaged,
        AssetGone,
        AssetsUnavailable,
        AssetUnknown,
        BackendUnknown,
        BackendUrlInvalid,
        BrokenChain,
        BrokenHead,
        ClientClosed,
        ClientShared,
        ClocksApart,
        Conflict,
        CorruptLog,
        EngineMismatch,
        EventIdForgotten,
        EventTooLarge,
        EventTooNew,
        EverfoldError,
        Fenced,
        HashMismatch,
        IdempotencyConflict,
        InputRefused,
        InvalidName,
        InvalidWorkflow,
        JobClosed,
        JobLeased,
        JobNotHeld,
        JobNotParked,
        JobUnknown,
        LeaseLost,
        Misconfigured,
        NamespaceMadeAnew,
        NamespaceTooNew,
        NamespaceTooOld,
        NamespaceUnknown,
        NeedsAsyncio,
        NoServer,
        NoServerCanRun,
        OutputNotStored,
        OutputUnknown,
        PartitionMismatch,
        PartitionsUnavailable,
        QueueFull,
        QueueUnknown,
        QuotaFull,
        RebuildTaken,
        Refused,
        RunnerNameTaken,
        RunnerUnknown,
        SealKeyMissing,
        ServerError,
        ServerInCluster,
        ServerLoading,
        ServerNotTrusted,
        ServerOutOfMemory,
        ServerReadOnly,
        ServerRefusesAccess,
        ServerTooOld,
        ServerUnreachable,
        ServerUrlInvalid,
        SignatureInvalid,
        SlotMoved,
        SubscriptionUnknown,
        TooFewReplicas,
        TooLarge,
        Trimmed,
        Unavailable,
        UndecodableEvent,
        Unknown,
        UserHasOpenJobs,
        WentBack,
        WrongExpectedSequence,
        WrongKeyType,
    )
    from everfold.streams.events.codec import Unreadable
    from everfold.streams.events.event import (
        AssetInput,
        Canceled,
        CancelRequested,
        Claimed,
        Event,
        Expired,
        Failed,
        Failure,
        Lost,
        NodeProblem,
        Outputs,
        OutputSaved,
        Policy,
        Progressed,
        Queued,
        Recovered,
        Released,
        Retried,
        Rewound,
        Started,
        Stopping,
        Submitted,
        Submitting,
        Succeeded,
        Terminal,
    )
    from everfold.streams.events.ids import new_id
    from everfold.streams.events.record import Recorded
    from everfold.streams.leases.acts import Act
    from everfold.streams.leases.producer import Producer
    from everfold.streams.queues.limits import Limit
    from everfold.streams.reading.reader import job_events
    from everfold.submitting import SubmittedJob
    from everfold.why.reason import Why

__version__ = "0.1.0"

__all__ = [
    "AccessMissing",
    "Act",
    "Appended",
    "ArchiveDamaged",
    "ArchiveForeign",
    "ArchiveUnavailable",
    "Asset",
    "AssetDamaged",
    "AssetGone",
    "AssetInput",
    "AssetStore",
    "AssetUnknown",
    "AssetsUnavailable",
    "AttemptState",
    "Backend",
    "BackendStatus",
    "BackendUnknown",
    "BackendUrlInvalid",
    "Batch",
    "BatchProgress",
    "BrokenChain",
    "BrokenHead",
    "CancelRequested",
    "Canceled",
    "CatchUp",
    "Claimed",
    "ClientClosed",
    "ClientShared",
    "ClocksApart",
    "ComfyBackend",
    "Conflict",
    "CorruptLog",
    "Cursor",
    "Delivery",
    "EngineMismatch",
    "Erased",
    "Event",
    "EventIdForgotten",
    "EventTooLarge",
    "EventTooNew",
    "Everfold",
    "EverfoldError",
    "Expired",
    "Failed",
    "Failure",
    "Fenced",
    "GiveUp",
    "HashMismatch",
    "IdempotencyConflict",
    "InputRefused",
    "InputRules",
    "InvalidName",
    "InvalidWorkflow",
    "Job",
    "JobClosed",
    "JobFile",
    "JobFilter",
    "JobLeased",
    "JobNotHeld",
    "JobNotParked",
    "JobUnknown",
    "Lease",
    "LeaseLost",
    "LeaseOver",
    "Limit",
    "Log",
    "Lost",
    "ManyDone",
    "Misconfigured",
    "NamespaceMadeAnew",
    "NamespaceTooNew",
    "NamespaceTooOld",
    "NamespaceUnknown",
    "NeedsAsyncio",
    "NoServer",
    "NoServerCanRun",
    "NodeProblem",
    "OpenOutput",
    "OutputNotStored",
    "OutputSaved",
    "OutputUnknown",
    "Outputs",
    "Page",
    "PartitionMismatch",
    "PartitionsUnavailable",
    "Policy",
    "Priority",
    "Producer",
    "Progressed",
    "Projection",
    "Projector",
    "ProjectorConfig",
    "QueueFull",
    "QueueStatus",
    "QueueUnknown",
    "Queued",
    "QuotaFull",
    "Rebuild",
    "RebuildTaken",
    "Rebuilt",
    "Recorded",
    "Recovered",
    "Refused",
    "Released",
    "Renewed",
    "Retried",
    "Rewound",
    "Runner",
    "RunnerConfig",
    "RunnerNameTaken",
    "RunnerStatus",
    "RunnerUnknown",
    "SavedFile",
    "SealKeyMissing",
    "Secret",
    "ServerError",
    "ServerInCluster",
    "ServerLoading",
    "ServerNotTrusted",
    "ServerOutOfMemory",
    "ServerReadOnly",
    "ServerRefusesAccess",
    "ServerTooOld",
    "ServerUnreachable",
    "ServerUrlInvalid",
    "SignatureInvalid",
    "SlotMoved",
    "Started",
    "Status",
    "Stopping",
    "Stored",
    "Submitted",
    "SubmittedJob",
    "Submitting",
    "Subscription",
    "SubscriptionUnknown",
    "Succeeded",
    "TargetAway",
    "Terminal",
    "Thumbnail",
    "TooFewReplicas",
    "TooLarge",
    "Trimmed",
    "TryLater",
    "Unavailable",
    "UndecodableEvent",
    "Unknown",
    "Unreadable",
    "UserContent",
    "UserHasOpenJobs",
    "WentBack",
    "Why",
    "WrongExpectedSequence",
    "WrongKeyType",
    "__version__",
    "embedded_server",
    "environment_cipher",
    "find_server",
    "job_events",
    "new_id",
    "read_cursor",
    "runner_name",
    "to_json",
]

_MODULES = {
    "everfold.many_jobs": "Batch BatchProgress ManyDone",
    "everfold.operations": "BackendStatus RunnerStatus",
    "everfold.assets.job_files": "JobFile Thumbnail",
    "everfold.assets.getting": "OpenOutput SavedFile",
    "everfold.client": "Everfold to_json",
    "everfold.assets.input_rules": "InputRules",
    "everfold.submitting": "SubmittedJob",
    "everfold.embedded": "embedded_server find_server",
    "everfold.erasing.erasing": "Erased",
    "everfold.erasing.seal_cipher": "environment_cipher",
    "everfold.erasing.user_content": "UserContent",
    "everfold.projector.config": "ProjectorConfig",
    "everfold.projector.folding.rebuild": "Rebuild Rebuilt",
    "everfold.projector.folding.custom_projection": "Projection",
    "everfold.projector.job.job": "Job",
    "everfold.projector.job.job_filter": "JobFilter",
    "everfold.projector.job.words": "AttemptState Priority Status",
    "everfold.projector.projector": "Projector",
    "everfold.projector.reading.queries": "Page",
    "everfold.projector.subscribing.catch_up": "CatchUp Cursor read_cursor",
    "everfold.projector.subscribing.delivery": "Delivery",
    "everfold.projector.subscribing.subscription": "GiveUp Subscription TargetAway TryLater",
    "everfold.queue_operations": "QueueStatus",
    "everfold.runner.backend": "Backend",
    "everfold.runner.comfyui.backend": "ComfyBackend",
    "everfold.runner.config": "RunnerConfig runner_name",
    "everfold.runner.runner": "Runner",
    "everfold.streams.appending.log": "Log",
    "everfold.streams.appending.outcomes": "Appended Lease LeaseOver Renewed",
    "everfold.streams.assets.asset": "Asset",
    "everfold.streams.assets.asset_store": "AssetStore Stored",
    "everfold.streams.border.secrets": "Secret",
    "everfold.streams.events.codec": "Unreadable",
    "everfold.streams.events.event": "AssetInput Canceled CancelRequested Claimed Event Expired "
    "Failed Failure Lost NodeProblem Outputs OutputSaved Policy Progressed Queued Recovered "
    "Released Retried Rewound Started Stopping Submitted Submitting Succeeded Terminal",
    "everfold.streams.events.ids": "new_id",
    "everfold.streams.events.record": "Recorded",
    "everfold.streams.leases.acts": "Act",
    "everfold.streams.leases.producer": "Producer",
    "everfold.streams.queues.limits": "Limit",
    "everfold.streams.reading.reader": "job_events",
    "everfold.why.reason": "Why",
}
"""Where each name is defined; one that is not here is an error, of streams/errors."""

if not TYPE_CHECKING:  # else any name at all would pass the type check

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'everfold' has no attribute {name!r}")
        homes = (module for module, names in _MODULES.items() if name in names.split())
        value = getattr(import_module(next(homes, "everfold.streams.errors")), name)
        globals()[name] = value  # from now on it is found without this function
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
