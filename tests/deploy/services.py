"""The services of deploy/, as compose, systemd and Kubernetes start them: words, settings, time to
end.

Rule: nothing is made up here. What a file says is read from it, whatever the format.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from msgspec import Struct

from everfold.streams.redis.access import Role
from tests.architecture.source_tree import ROOT

DEPLOY = ROOT / "deploy"
ROLES: dict[str, Role] = {
    "projector": "projector",
    "runner": "runner",
    "serve": "gateway",
    "archive": "archiver",
    "sink": "consumer",
}
"""Command -> the role under which it works."""


class Service(Struct, frozen=True):
    """One process of Everfold, as a file of deploy/ starts it."""

    source: str
    """compose, systemd or kubernetes."""
    name: str
    words: tuple[str, ...]
    """The arguments of `everfold`."""
    environ: dict[str, str]
    grace_s: float
    """How long it may take to end after SIGTERM."""

    @property
    def role(self) -> Role:
        return ROLES[self.words[0]]


def services(deploy: Path = DEPLOY) -> list[Service]:
    """Return every service of every file."""
    return [*_compose(deploy), *_systemd(deploy), *_kubernetes(deploy)]


def _compose(deploy: Path) -> Iterator[Service]:
    described: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]
    for name, one in described.items():
        if one["image"] == "everfold:local":
            grace_s = float(one["stop_grace_period"].removesuffix("s"))
            environ = {key: _default(value) for key, value in one["environment"].items()}
            yield Service("compose", name, tuple(one["command"]), environ, grace_s)


def _default(value: str) -> str:
    """Return a value of compose as it is when nothing is set for it outside."""
    return re.sub(r"\$\{\w+(?::[-?]([^}]*))?\}", lambda found: found[1] or "", value)


def unit(file: Path) -> dict[str, list[str]]:
    """Return the settings of a systemd unit; one may stand there several times."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def _systemd(deploy: Path) -> Iterator[Service]:
    for file in sorted((deploy / "systemd").glob("*.service")):
        found = unit(file)
        program, *words = shlex.split(found["ExecStart"][0].replace("%i", "gpu1"))
        assert program == "/opt/everfold/bin/everfold"
        environ = dict(one.split("=", 1) for one in found["Environment"])
        environ["REDIS_URL_FILE"] = environ["REDIS_URL_FILE"].replace("%d", "/run/credentials")
        grace_s = float(found["TimeoutStopSec"][0])
        yield Service("systemd", file.stem, tuple(words), environ, grace_s)


def manifests(deploy: Path = DEPLOY) -> list[dict[str, Any]]:
    """Return the objects of the Kustomize base."""
    base = deploy / "kubernetes" / "base"
    names = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    return [one for name in names for one in yaml.safe_load_all((base / name).read_text())]


def pods(deploy: Path = DEPLOY) -> dict[str, dict[str, Any]]:
    """Return Deployment -> what its pods are made of."""
    every = manifests(deploy)
    found = {one["metadata"]["name"]: one for one in every if one["kind"] == "Deployment"}
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}


def _kubernetes(deploy: Path) -> Iterator[Service]:
    for pod in pods(deploy).values():
        (container,) = pod["containers"]
        assert container["image"] == "everfold"
        environ = {one["name"]: one["value"] for one in container["env"]}
        grace_s = float(pod["terminationGracePeriodSeconds"])
        yield Service("kubernetes", container["name"], tuple(container["args"]), environ, grace_s)
