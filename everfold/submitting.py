"""How an application submits jobs.

Rule: a graph that no known server would run is refused at once, before anything is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from anyio.lowlevel import checkpoint
from msgspec import Struct, structs
from msgspec.structs import replace

from everfold.assets.input_rules import InputRules, check_rules
from everfold.moments import check_delay, check_moment
from everfold.policy_settings import PolicySettings
from everfold.shown_jobs import ShownJobs
from everfold.streams.appending.body import targets_of
from everfold.streams.appending.earlier_submit import chosen_job_id
from everfold.streams.appending.log import Log
from everfold.streams.appending.many.submits import ManySubmits, SubmitOutcome
from everfold.streams.appending.outcomes import Submission
from everfold.streams.appending.submitted_event import JobRequest
from everfold.streams.assets.graph_inputs import names_files
from everfold.streams.border.plain import Plain
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import EverfoldError, InvalidName, Refused
from everfold.streams.events.checks import (
    check_choice,
    check_idempotency_key,
    check_list,
    check_needs,
    check_text,
)
from everfold.streams.events.event import Policy
from everfold.streams.events.record import entry_time_ms
from everfold.streams.events.workflow_check import CheckedWorkflow, check_workflow
from everfold.streams.redis.redis_errors import command
from everfold.workflow_file import read_workflow

if TYPE_CHECKING:
    from everfold.assets.job_inputs import Given, GivenInputs
    from everfold.projector.job.words import Priority
    from everfold.streams.assets.asset_store import AssetStore
    from everfold.submit_check import SubmitCheck

ON_MISSING = ("refuse", "wait")

CHECKED_IN_A_TURN = 64
"""Graphs of many that are checked before others have a turn of the event loop."""


class SubmittedJob(Plain, Struct, frozen=True):
    job_id: str
    created: bool
    """False when an earlier submit with the same idempotency key created the job."""
    submitted_at_ms: int = 0
    """When the job became known, Unix ms of the server."""
    node_errors: dict[str, dict[str, object]] = {}
    """Nodes that every known server would leave out although it runs the rest, as ComfyUI tells it:
    node id -> `errors`, `class_type` and `dependent_outputs`."""


class Submitting:
    """The calls of `Everfold` that submit."""

    log: Log
    _policies: PolicySettings
    _shown: ShownJobs
    _submit_check: SubmitCheck | None = None
    """What is known of the servers; None before the first submit."""

    if TYPE_CHECKING:

        @property
        def assets(self) -> AssetStore: ...

    async def submit(
        self,
        workflow: Mapping[str, object] | str | bytes | Path,
        *,
        kind: str = "",
        user: str = "",
        metadata: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        queue: str = "default",
        priority: Priority = "normal",
        run_at: datetime | timedelta | None = None,
        policy: Policy | Mapping[str, object] | None = None,
        batch: str = "",
        tags: Collection[str] = (),
        extra_data: Mapping[str, object] | None = None,
        partner_keys: Mapping[str, Secret] | None = None,
        needs: Collection[str] = (),
        on_missing: str = "refuse",
        validate: bool = True,
        inputs: Mapping[str, Given] | None = None,
        input_rules: InputRules | None = None,
        callback: str = "",
        user_id: str | None = None,
        traceparent: str | None = None,
    ) -> SubmittedJob:
        """Append a new job; once this returns, the job is stored and waits for a runner.

        `workflow` is an API-format graph: a mapping, its JSON, or the path of a file. `kind`,
        `user` and `metadata` (at most 64 KiB of JSON) are yours: they are stored with the job,
        and lists and subscriptions can select by the first two. `priority` is high, normal or
        low. The job does not start before `run_at` (a time without zone is local; a timedelta
        counts from now; None means at once). `policy` says how often and how long the job is tried:
        a mapping such as {"retries": 3} sets these fields only, all others are those of the config,
        else the defaults of `Policy`; a `Policy` is taken as it is, whatever the config says.
        `batch` is a name that many jobs share; lists can select by it, and by each of the `tags`,
        of which there are at most 16.

        `extra_data` is what ComfyUI takes beside a graph, at most 4 MiB: `extra_pnginfo`,
        `preview_method`, `partial_execution_targets`. `partner_keys` are keys for ComfyUI's partner
        nodes, `api_key_comfy_org` or `auth_token_comfy_org`: they are kept beside the log until
        the job ends, a day at most without a runner, and are never in it.

        The job runs only where the backend has all labels in `needs`. The graph is checked against
        what the known servers have. Where none has a node class, model file or label that it needs,
        the job is refused, or waits for one that has, with `on_missing` "wait". Where every server
        that could run it would refuse its values, it is refused either way. With `validate=False`
        nothing is checked: the job waits, or its server refuses it.

        `inputs` are files for inputs of the graph, such as {"10.image": "photo.png"}: bytes, a
        path, a URL, an asset or its `everfold:<id>`; at most 100. Never pass a text that strangers
        wrote: it may be the path of a file here. A URL is fetched now. They are
        stored as assets of the user, the graph names them as `everfold:<id>`, and the runner sends
        them to the server that it chooses. `input_rules` are limits, and whether URLs may lead into
        private networks. Assets that the graph names already are sent, too.

        `callback` is a URL that is told of the job's end, by a process that sends callbacks: a
        signed message, at least once; docs/CONSUMING.md says how, and `everfold.webhooks.verify`
        reads it. Its path and query may be a secret: states and events show its host only.

        `traceparent` is the span that the job's trace goes on from, as W3C writes it: by default
        the application's current one of OpenTelemetry, with "" none. What is none is ignored.

        With an `idempotency_key` a repeated submit of the same user returns the first job. Any
        other argument under the same key is a conflict that names it; of partner keys the names
        are compared, and a timedelta is not.

        Raises a kind of Refused (InvalidWorkflow, NoServerCanRun, TooLarge, InvalidName,
        InputRefused, QuotaFull, IdempotencyConflict) without a job. After Unavailable the job may
        exist: repeat the submit with its idempotency key.
        """
        user = user if user_id is None else user_id
        key, files = (user, idempotency_key), (inputs, input_rules)
        targets = targets_of(extra_data)
        checked = await self._checked(workflow, needs, on_missing, validate, key, files, targets)
        graph, given, node_errors = checked
        request = JobRequest(
            workflow=graph, kind=kind, user=user, metadata=metadata, queue=queue,
            idempotency_key=idempotency_key, priority=priority, **_start(run_at), batch=batch,
            tags=tags, needs=needs, policy=self._policy(queue, kind, policy),
            extra_data=extra_data, partner_keys=partner_keys, callback=callback,
            traceparent=traceparent,
        )  # fmt: skip
        if given is not None:
            request = await self._with_files(request, given)
        return self._note(await self.log.submit_request(request), node_errors)

    async def submit_many(
        self,
        workflows: Iterable[Mapping[str, object] | str | bytes | Path],
        *,
        idempotency_keys: Iterable[str] | None = None,
        kind: str = "",
        user: str = "",
        metadata: Mapping[str, object] | None = None,
        queue: str = "default",
        priority: Priority = "normal",
        policy: Policy | Mapping[str, object] | None = None,
        batch: str = "",
        tags: Collection[str] = (),
        needs: Collection[str] = (),
        on_missing: str = "refuse",
        validate: bool = True,
        callback: str = "",
        traceparent: str | None = None,
    ) -> list[SubmittedJob | EverfoldError]:
        """Submit many jobs at once that have all but their graphs in common; return the outcome of
        each, in the same order.

        The arguments are those of `submit`. Each of the `idempotency_keys` is of the graph at its
        place. What `submit` would raise for one job stands in its place and stops no other; after
        an Unavailable the job may exist. They travel in one call for many of a partition, so those
        that stand near each other may start in another order. A graph that is given again and
        again, as the same object, is checked once. One that names stored files needs `submit`.
        Raises what is wrong with what they have in common.
        """
        graphs = _check_graphs(workflows)
        keys = _check_keys(idempotency_keys, len(graphs))
        common = JobRequest(
            workflow=None, kind=kind, user=user, metadata=metadata, queue=queue, batch=batch,
            priority=priority, tags=tags, needs=needs, policy=self._policy(queue, kind, policy),
            callback=callback, traceparent=traceparent,
        )  # fmt: skip
        _check_how(needs, on_missing, validate)
        how = partial(self._checked, needs=needs, on_missing=on_missing, validate=validate)
        asked = await checked_all(how, user, zip(graphs, keys, strict=True))
        made = await ManySubmits(self.log, common).submit(
            (one.graph, one.key) for one in asked if isinstance(one, CheckedJob)
        )
        rest = iter(made)
        return [
            self._noted(next(rest), one.node_errors) if isinstance(one, CheckedJob) else one
            for one in asked
        ]

    def _noted(
        self, found: SubmitOutcome, node_errors: dict[str, dict[str, object]]
    ) -> SubmittedJob | EverfoldError:
        return self._note(found, node_errors) if isinstance(found, Submission) else found

    async def _with_files(self, request: JobRequest, given: GivenInputs) -> JobRequest:
        """Store the files of a job, once nothing else is wrong with it."""
        await self.log.check_request(request)
        taken = await given.take(self.assets, request.user)
        return replace(request, workflow=taken.graph, inputs=taken.inputs)

    def _note(self, made: Submission, node_errors: dict[str, dict[str, object]]) -> SubmittedJob:
        self._shown.note(made.job_id, 1, made.entry_id)
        at_ms = entry_time_ms(made.entry_id) if made.entry_id else 0
        return SubmittedJob(made.job_id, made.created, at_ms, node_errors)

    def _policy(self, queue: str, kind: str, given: Policy | Mapping[str, object] | None) -> Policy:
        if given is None or isinstance(given, Mapping):
            return self._policies.policy(queue, kind, given or {})
        return given

    async def _checked(
        self,
        workflow: object,
        needs: Collection[str],
        on_missing: str,
        validate: bool,
        key: tuple[str, str | None],
        files: tuple[Mapping[str, Given] | None, InputRules | None] = (None, None),
        targets: Sequence[object] | None = None,
    ) -> tuple[CheckedWorkflow, GivenInputs | None, dict[str, dict[str, object]]]:
        """Return the graph, its files, and what would be left out of it, once it is known that a
        server may run it.

        `key` is the user's, `files` are what the job is given, and the rules for that. `targets`
        are the only outputs that are run, where there are any.
        """
        graph = check_workflow(read_workflow(workflow) if isinstance(workflow, Path) else workflow)
        labels, may_wait = _check_how(needs, on_missing, validate)
        given = await self._given_inputs(graph, *files)
        graph = graph if given is None else given.draft
        is_known = partial(self._is_known, *key)
        check, node_errors = self._checking(), dict[str, dict[str, object]]()
        if validate:
            node_errors = await check.check(
                graph, labels, may_wait=may_wait, is_known=is_known, targets=targets
            )
        return graph, given, node_errors

    async def _given_inputs(
        self,
        graph: CheckedWorkflow,
        inputs: Mapping[str, Given] | None,
        rules: InputRules | None,
    ) -> GivenInputs | None:
        """Check the files of a job; None for one that has none."""
        rules = check_rules(rules)
        if inputs is None and not names_files(graph.json):
            return None
        # Here, because most programs send no files.
        from everfold.assets.job_inputs import GivenInputs

        given = GivenInputs(graph, inputs, rules)
        await given.check()
        return None if given.is_empty else given

    def _checking(self) -> SubmitCheck:
        """Return what knows the servers."""
        if self._submit_check is None:
            # Here, because many programs submit nothing.
            from everfold.submit_check import SubmitCheck

            self._submit_check = SubmitCheck(self.log)
        return self._submit_check

    async def _end_check(self) -> None:
        """End what goes on in the background."""
        if self._submit_check is not None:
            await self._submit_check.close()

    async def _is_known(self, user: str, idempotency_key: str | None) -> bool:
        """Say whether an earlier submit with this key has made the job."""
        if (key := check_idempotency_key(idempotency_key)) is None:
            return False
        job_id = chosen_job_id(self.log.generation, check_text("user", user), None, key)
        return await command(self.log.redis, "HGET", self.log.keys.head(job_id), "seq") is not None


def _check_graphs(workflows: object) -> Sequence[object]:
    """Return several graphs. Raises InvalidName, for a single one too, which is a mapping."""
    if isinstance(workflows, Mapping):
        raise InvalidName("workflows", "one mapping", "give several graphs, as a list")
    return check_list("workflows", workflows)


def _check_keys(keys: object, count: int) -> Sequence[str | None]:
    """Return an idempotency key for each of so many jobs; a wrong one is its job's outcome."""
    found = [None] * count if keys is None else check_list("idempotency_keys", keys)
    if len(found) != count:
        raise InvalidName("idempotency_keys", len(found), f"there are {count} workflows")
    return cast("Sequence[str | None]", found)


def _check_how(needs: object, on_missing: object, validate: object) -> tuple[tuple[str, ...], bool]:
    """Return the needed labels, and whether a job may wait for a server that has them."""
    may_wait = check_choice("on_missing", on_missing, ON_MISSING) == "wait"
    if not isinstance(validate, bool):
        raise InvalidName("validate", validate, "it is True or False")
    return check_needs(needs), may_wait


class CheckedJob(Struct, frozen=True):
    """One of many jobs that a server may run."""

    graph: CheckedWorkflow
    key: str | None
    node_errors: dict[str, dict[str, object]]


Check = Callable[..., Awaitable[tuple[CheckedWorkflow, object, dict[str, dict[str, object]]]]]


async def checked_all(
    check: Check, user: str, jobs: Iterable[tuple[object, str | None]]
) -> list[CheckedJob | EverfoldError]:
    """Check graphs, each object once where it comes again and again; one that is refused stands as
    its error. Others have turns of the event loop meanwhile."""
    found, last = list[CheckedJob | EverfoldError](), None
    for number, (workflow, key) in enumerate(jobs):
        if number % CHECKED_IN_A_TURN == 0:
            await checkpoint()
        if last is None or last[0] is not workflow:
            last = (workflow, await _checked_one(check, workflow, (user, key)))
        one = last[1]
        found.append(structs.replace(one, key=key) if isinstance(one, CheckedJob) else one)
    return found


async def _checked_one(
    check: Check, workflow: object, key: tuple[str, str | None]
) -> CheckedJob | EverfoldError:
    try:
        graph, given, node_errors = await check(workflow, key=key)
    except Refused as error:
        return error
    if given is not None:
        return InvalidName("workflow", "this one", "it names stored files: use submit for it")
    return CheckedJob(graph, key[1], node_errors)


class _Start(TypedDict):
    run_at_ms: int | None
    delay_s: float | None


def _start(run_at: datetime | timedelta | None) -> _Start:
    if isinstance(run_at, timedelta):
        return {"run_at_ms": None, "delay_s": check_delay("run_at", run_at)}
    return {"run_at_ms": check_moment("run_at", run_at), "delay_s": None}
