"""What can go wrong, and what the caller may do about it.

    EverfoldError
    ├── Refused          change the request; nothing was written
    │       InvalidWorkflow, NoServerCanRun, TooLarge, EventTooLarge, InvalidName,
    │       IdempotencyConflict, EventIdForgotten, EventTooNew, ClientShared, NeedsAsyncio,
    │       HashMismatch, QuotaFull, InputRefused, ClientClosed,
    │       SignatureInvalid
    ├── Unknown          check the name; nothing was written
    │       JobUnknown, JobNotParked, JobNotHeld, SubscriptionUnknown, BackendUnknown,
    │       RunnerUnknown, QueueUnknown, AssetUnknown, AssetGone, OutputUnknown,
    │       OutputNotStored
    ├── Conflict         read again, decide again; nothing was written
    │       WrongExpectedSequence, JobClosed, JobLeased, RebuildTaken, QueueFull,
    │       UserHasOpenJobs
    ├── LeaseLost        stop this work, another runner has it; nothing was written
    │       Fenced
    ├── Misconfigured    a person must change a setting
    │       ServerTooOld, ServerRefusesAccess, AccessMissing, ServerNotTrusted, ServerInCluster,
    │       PartitionMismatch, NamespaceTooNew, NamespaceTooOld, ArchiveForeign, NoServer,
    │       ServerUrlInvalid, EngineMismatch, BackendUrlInvalid, RunnerNameTaken, NamespaceMadeAnew,
    │       SealKeyMissing, ClocksApart, NamespaceUnknown
    ├── CorruptLog       park the job; a person must look
    │       UndecodableEvent, ArchiveDamaged, Trimmed, WentBack, BrokenChain, BrokenHead,
    │       WrongKeyType, AssetDamaged
    └── Unavailable      retry with back-off and the same event id: a write may have happened
            ServerUnreachable, ServerLoading, ServerReadOnly, ArchiveUnavailable,
            ServerOutOfMemory, ServerError, AssetsUnavailable, TooFewReplicas, SlotMoved,
            PartitionsUnavailable

Branches are what the caller does, leaves what happened; a leaf has its values as attributes."""

from __future__ import annotations

from everfold.streams.border.values import shown
from everfold.streams.errors.base import (
    EverfoldError,
)
from everfold.streams.errors.conflict import (
    Conflict,
    JobClosed,
    JobLeased,
    QueueFull,
    RebuildTaken,
    UserHasOpenJobs,
    WrongExpectedSequence,
)
from everfold.streams.errors.corrupt_log import (
    ArchiveDamaged,
    AssetDamaged,
    BrokenChain,
    BrokenHead,
    CorruptLog,
    Trimmed,
    UndecodableEvent,
    WentBack,
    WrongKeyType,
)
from everfold.streams.errors.lease_lost import (
    Fenced,
    LeaseLost,
)
from everfold.streams.errors.misconfigured import (
    AccessMissing,
    ArchiveForeign,
    BackendUrlInvalid,
    ClocksApart,
    EngineMismatch,
    Misconfigured,
    NamespaceMadeAnew,
    NamespaceTooNew,
    NamespaceTooOld,
    NamespaceUnknown,
    NoServer,
    PartitionMismatch,
    RunnerNameTaken,
    SealKeyMissing,
    ServerInCluster,
    ServerNotTrusted,
    ServerRefusesAccess,
    ServerTooOld,
    ServerUrlInvalid,
)
from everfold.streams.errors.refused import (
    ClientClosed,
    ClientShared,
    EventIdForgotten,
    EventTooLarge,
    EventTooNew,
    HashMismatch,
    IdempotencyConflict,
    InputRefused,
    InvalidName,
    InvalidWorkflow,
    NeedsAsyncio,
    NoServerCanRun,
    QuotaFull,
    Refused,
    SignatureInvalid,
    TooLarge,
)
from everfold.streams.errors.unavailable import (
    OUTAGES,
    ArchiveUnavailable,
    AssetsUnavailable,
    PartitionsUnavailable,
    ServerError,
    ServerLoading,
    ServerOutOfMemory,
    ServerReadOnly,
    ServerUnreachable,
    SlotMoved,
    TooFewReplicas,
    Unavailable,
)
from everfold.streams.errors.unknown import (
    AssetGone,
    AssetUnknown,
    BackendUnknown,
    JobNotHeld,
    JobNotParked,
    JobUnknown,
    OutputNotStored,
    OutputUnknown,
    QueueUnknown,
    RunnerUnknown,
    SubscriptionUnknown,
    Unknown,
)

__all__ = [
    "OUTAGES",
    "AccessMissing",
    "ArchiveDamaged",
    "ArchiveForeign",
    "ArchiveUnavailable",
    "AssetDamaged",
    "AssetGone",
    "AssetUnknown",
    "AssetsUnavailable",
    "BackendUnknown",
    "BackendUrlInvalid",
    "BrokenChain",
    "BrokenHead",
    "ClientClosed",
    "ClientShared",
    "ClocksApart",
    "Conflict",
    "CorruptLog",
    "EngineMismatch",
    "EventIdForgotten",
    "EventTooLarge",
    "EventTooNew",
    "EverfoldError",
    "Fenced",
    "HashMismatch",
    "IdempotencyConflict",
    "InputRefused",
    "InvalidName",
    "InvalidWorkflow",
    "JobClosed",
    "JobLeased",
    "JobNotHeld",
    "JobNotParked",
    "JobUnknown",
    "LeaseLost",
    "Misconfigured",
    "NamespaceMadeAnew",
    "NamespaceTooNew",
    "NamespaceTooOld",
    "NamespaceUnknown",
    "NeedsAsyncio",
    "NoServer",
    "NoServerCanRun",
    "OutputNotStored",
    "OutputUnknown",
    "PartitionMismatch",
    "PartitionsUnavailable",
    "QueueFull",
    "QueueUnknown",
    "QuotaFull",
    "RebuildTaken",
    "Refused",
    "RunnerNameTaken",
    "RunnerUnknown",
    "SealKeyMissing",
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
    "SubscriptionUnknown",
    "TooFewReplicas",
    "TooLarge",
    "Trimmed",
    "Unavailable",
    "UndecodableEvent",
    "Unknown",
    "UserHasOpenJobs",
    "WentBack",
    "WrongExpectedSequence",
    "WrongKeyType",
    "shown",
]
