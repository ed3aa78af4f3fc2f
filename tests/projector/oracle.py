"""The fold once more, as plainly as possible and from nothing but the events' own words.

It shares no line with the product: one dict, one `if` per rule, no haste. Used where a mistake in
the product's fold could hide by being in both sides of a comparison.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from everfold.projector.job.job import Job
from everfold.streams.events.record import Recorded

OVER = {"succeeded", "failed", "canceled", "expired"}
OF_AN_ATTEMPT = {"submitting", "queued", "started", "progressed", "output_saved"}
OF_AN_ATTEMPT |= {"stopping", "lost"}


def state_of(records: Iterable[Recorded]) -> dict[str, object]:
    """Return what the hash of a job must say after these events."""
    s: dict[str, object] = {
        "status": "queued",
        "reason": "",
        "owner": "",
        "attempt": 0,
        "attempt_state": "",
        "progress": 0.0,
        "nodes_done": 0,
        "nodes_total": 0,
        "node": "",
        "node_class": "",
        "step": 0,
        "steps": 0,
        "left_s": 0,
        "outputs": {},
        "outputs_reused": False,
        "problems": [],
        "error": None,
        "recovered": 0,
        "released": 0,
        "broken": 0,
        "retried": 0,
        "losses": 0,
        "unconfirmed": 0,
        "unconfirmed_since_ms": 0,
        "lost_at_ms": 0,
        "abandoned": 0,
        "refused_by": (),
        "crashes_in_a_row": 0,
        "stopping_at_ms": 0,
        "server": "",
        "rewound": 0,
        "idle_ms": 0,
        "stopping": "",
        "number": -1,
        "run_at_ms": 0,
        "cancel": 0,
        "started": 0,
        "ended": 0,
        "prompt_id": "",
        "backend": "",
    }
    for record in records:
        event = json.loads(record.payload)
        kind = event["type"].removeprefix("job.")
        s["seq"], s["epoch"], s["entry_id"] = record.seq, record.epoch, record.entry_id
        if s["status"] in OVER:
            continue
        if kind == "submitting" and event["attempt"] < s["attempt"]:
            continue
        if kind in OF_AN_ATTEMPT - {"submitting"} and event["attempt"] != s["attempt"]:
            continue
        _apply(s, kind, event, record.time_ms)
    return s


def _apply(s: dict, kind: str, e: dict, now: int) -> None:  # type: ignore[type-arg]
    canceling = s["cancel"] > 0
    if kind == "submitted":
        s["user"], s["kind"], s["queue"] = e["user"], e["kind"], e["queue"]
        s["run_at_ms"] = e.get("run_at_ms") or 0
    if kind == "claimed":
        s["owner"] = e["owner"]
        s["reason"] = s["reason"] if canceling else ""
    if kind == "recovered":
        s["owner"], s["recovered"], s["idle_ms"] = e["owner"], e["crashes"], e["idle_ms"]
        s["reason"] = s["reason"] if canceling else e["reason"]
        s["crashes_in_a_row"] += 1
    if kind in ("queued", "started", "progressed", "output_saved"):
        s["crashes_in_a_row"] = 0
    if kind == "submitting":
        s["server"], s["stopping_at_ms"] = e.get("server", ""), 0
        s["attempt"], s["attempt_state"], s["prompt_id"] = e["attempt"], "intended", e["prompt_id"]
        s["backend"], s["number"], s["started"], s["stopping"] = e["backend"], -1, 0, ""
        s["node"], s["node_class"], s["step"], s["steps"], s["nodes_done"] = "", "", 0, 0, 0
        s["outputs"], s["problems"], s["left_s"] = {}, [], 0
    if kind == "queued":
        s["attempt_state"] = "accepted"
        s["number"] = -1 if e.get("number") is None else e["number"]
        s["problems"] = e.get("problems", [])
    if kind == "started":
        s["attempt_state"], s["started"] = "accepted", now
        s["unconfirmed"], s["unconfirmed_since_ms"] = 0, 0
        s["status"] = "running" if s["status"] == "queued" else s["status"]
    if kind == "progressed":
        s["progress"] = max(s["progress"], min(e["value"], 0.99))
        s["nodes_done"], s["nodes_total"] = e["nodes_done"], e["nodes_total"]
        s["node"], s["node_class"] = e.get("node") or "", e.get("node_class") or ""
        s["step"], s["steps"] = e.get("step") or 0, e.get("steps") or 0
        s["left_s"] = e.get("left_s") or 0
    if kind == "output_saved":
        s["outputs"] = {**s["outputs"], e["node"]: e["output"]}
    if kind == "cancel_requested":
        s["status"], s["reason"], s["cancel"] = "canceling", e.get("reason", ""), s["cancel"] or now
    if kind == "stopping":
        if s["stopping"] != e["why"] or not s["stopping_at_ms"]:
            s["stopping_at_ms"] = now
        s["stopping"] = e["why"]
    if kind == "released":
        s["owner"] = ""
        s["broken" if e["reason"] == "broken" else "released"] += 1
        s["crashes_in_a_row"] += e["reason"] == "broken"
        s["reason"] = s["reason"] if canceling else e["reason"]
    if kind == "rewound":
        s["rewound"] += 1
    if kind in ("lost", "retried"):
        s["status"] = "canceling" if canceling else "queued"
        s["attempt_state"], s["left_s"] = "over", 0
    if kind == "lost":
        uncounted = e["cause"] in ("refused", "turned_away")
        s["losses"] += s["started"] > 0
        s["unconfirmed"] += not s["started"] and not uncounted
        if not s["started"] and not uncounted and not s["unconfirmed_since_ms"]:
            s["unconfirmed_since_ms"] = now
        s["lost_at_ms"] = now
        s["abandoned"] += e.get("abandoned", False)
        if e["cause"] == "refused" and e["backend"] not in s["refused_by"]:
            s["refused_by"] = (*s["refused_by"], e["backend"])
        if e.get("failure"):
            s["error"] = e["failure"]["code"]
        s["reason"] = s["reason"] if canceling else e["cause"]
    if kind == "retried":
        s["owner"], s["run_at_ms"], s["error"] = "", e["not_before_ms"], e["failure"]["code"]
        s["retried"] += 1
        s["reason"] = s["reason"] if canceling else e["failure"]["code"]
    if kind in OVER:
        _end(s, kind, e, now)


def _end(s: dict, kind: str, e: dict, now: int) -> None:  # type: ignore[type-arg]
    s["status"], s["owner"], s["ended"], s["node"], s["node_class"] = kind, "", now, "", ""
    s["attempt_state"], s["left_s"] = "over" if s["attempt"] else "", 0
    s["abandoned"] += e.get("abandoned", False)
    if kind == "succeeded":
        s["reason"], s["error"], s["progress"] = "", None, 1.0
        s["nodes_done"] = s["nodes_total"]
        s["outputs"], s["outputs_reused"] = e["outputs"], e.get("outputs_reused", False)
        s["started"] = s["started"] or e.get("started_at_ms") or 0
    if kind == "failed":
        s["error"] = s["reason"] = e["failure"]["code"]
    if kind in ("failed", "canceled"):
        s["outputs"] = e.get("outputs") or s["outputs"]
    if kind == "canceled":
        s["reason"] = e.get("reason") or s["reason"]
    if kind == "expired":
        s["reason"] = e["reason"]


def shown(job: Job) -> dict[str, object]:
    """Return the fields of the product's job that the oracle speaks of, under its names."""
    plain = msgspec.to_builtins(job)
    error = plain["error"]
    return {
        **{name: plain[name] for name in state_of([]) if name in plain},
        "seq": job.seq,
        "epoch": job.epoch,
        "entry_id": job.entry_id,
        "user": job.user,
        "kind": job.kind,
        "queue": job.queue,
        "cancel": job.cancel_requested_at_ms,
        "started": job.started_at_ms,
        "ended": job.ended_at_ms,
        "error": error["code"] if error else None,
    }
