"""Each command line, setting, probe and limit of deploy/ is one that the commands have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from everfold.commands.app import app
from everfold.commands.config.settings import all_settings
from tests.architecture.source_tree import ROOT
from tests.deploy.services import DEPLOY, Service, manifests, pods, services, unit

EVERY = services()
EVERY_SETTING = list(all_settings(app))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BASE = sorted((DEPLOY / "kubernetes" / "base").glob("*.yaml"))
OVERLAYS = ["base", "overlays/gpu", "overlays/users"]
KUBERNETES = DEPLOY / "kubernetes"

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which renders Kustomize, is not installed"
)


def test_each_way_starts_the_same_four_processes() -> None:
    found: dict[str, set[str]] = {}
    for one in EVERY:
        found.setdefault(one.source, set()).add(one.words[0])

    four = {"projector", "runner", "serve", "archive"}
    assert found == {"compose": {*four, "sink"}, "systemd": four, "kubernetes": four}


def named(one: Service) -> str:
    return f"{one.source}-{one.name}"


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_each_option_and_variable_is_one_that_its_command_has(one: Service) -> None:
    command = one.words[:2] if one.words[0] in ("archive", "sink") else one.words[:1]
    known = [setting for setting in EVERY_SETTING if setting.command in ((), command)]
    flags = {word for word in one.words if word.startswith("--")}

    assert flags <= {name for setting in known for name in setting.argument.names}
    variables = {name for setting in EVERY_SETTING for name in setting.variables}
    variables |= {"REDIS_URL_FILE", "EVERFOLD_CONFIG", "PGPASSFILE", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert set(one.environ) <= variables
    assert "REDIS_URL_FILE" in one.environ, "the URL may have a password"


@pytest.mark.parametrize("one", [one for one in EVERY if one.role == "runner"], ids=named)
def test_a_runner_has_more_time_to_end_than_it_drains(one: Service) -> None:
    drain = one.words[one.words.index("--drain") + 1]
    seconds = {"s": 1, "m": 60}[drain[-1]] * float(drain[:-1])

    assert one.grace_s >= seconds + 30


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.stem)
def test_a_unit_is_watched_restarted_and_locked_up(file: Path) -> None:
    found = unit(file)

    assert (found["Type"], found["Restart"], found["User"]) == (
        ["notify"],
        ["always"],
        ["everfold"],
    )
    assert float(found["WatchdogSec"][0]) >= 30
    for name, value in {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "PrivateTmp": "yes", "CapabilityBoundingSet": "", "RestrictNamespaces": "yes",
    }.items():  # fmt: skip
        assert found[name] == [value], name
    assert found["LoadCredential"][0].startswith("redis-url:/etc/everfold/redis-url-")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    for file in UNITS:
        text = file.read_text().replace("/opt/everfold/bin/everfold", shutil.which("true") or "")
        (tmp_path / file.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_may_do_little_and_its_probes_ask_its_own_listener(name: str) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]
    secure, words = pod["securityContext"], container["args"]

    assert pod["automountServiceAccountToken"] is False
    assert (secure["runAsNonRoot"], secure["runAsUser"]) == (True, 10001)
    assert secure["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (*pod.get("initContainers", ()), container):
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["resources"]["limits"]["memory"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    port = {one["name"]: one["containerPort"] for one in container["ports"]}["metrics"]
    assert words[words.index("--metrics-port") + 1] == str(port)
    assert words[words.index("--metrics-host") + 1] == "0.0.0.0"
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert asked["liveness"] == {"path": "/livez", "port": "metrics"}
    assert asked["readiness"] == {"path": "/readyz", "port": "metrics"}


def test_comfyui_starts_before_its_runner_and_ends_after_it() -> None:
    pod = pods()["comfyui"]
    (comfyui,) = pod["initContainers"]

    assert comfyui["restartPolicy"] == "Always", "that makes it a sidecar"
    assert comfyui["startupProbe"]
    assert "http://127.0.0.1:8188" in pod["containers"][0]["args"]
    assert comfyui["args"] == ["--listen", "127.0.0.1", "--port", "8188"]


def test_each_volume_and_selector_of_a_pod_is_there() -> None:
    for name, pod in pods().items():
        volumes = {one["name"] for one in pod["volumes"]}
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        mounted = {one["name"] for each in containers for one in each["volumeMounts"]}
        assert mounted == volumes, name
    names = {one["metadata"]["name"] for one in manifests() if one["kind"] == "Deployment"}
    label = "app.kubernetes.io/name"
    for one in manifests():
        if one["kind"] in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            assert selector.get("matchLabels", selector)[label] in names


def validated(text: str) -> list[str]:
    """Return what the schemas of Kubernetes refuse."""
    from kubernetes_validate import (  # type: ignore[import-untyped]
        SchemaNotFoundError,
        ValidationError,
        latest_version,
        validate,
    )

    wrong = []
    for one in yaml.safe_load_all(text):
        try:
            validate(one, latest_version(), strict=True)
        except SchemaNotFoundError:
            assert one["apiVersion"].startswith(("keda.sh/", "kustomize.config.k8s.io/")), one
        except ValidationError as error:
            wrong.append(f"{one['kind']}: {error.message}")
    return wrong


@pytest.mark.parametrize(
    "file", sorted((KUBERNETES / "base").glob("*.yaml")), ids=lambda file: file.stem
)
def test_each_manifest_fits_the_schemas_of_kubernetes(file: Path) -> None:
    assert validated(file.read_text()) == []


def test_the_schemas_would_complain() -> None:
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n"

    assert "prots" in validated(bad)[0]


def rendered(name: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / name)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert validated(done.stdout) == []
    return list(yaml.safe_load_all(done.stdout))


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_renders_what_kubernetes_takes(name: str) -> None:
    found = rendered(name)
    deployments = [one["spec"]["template"] for one in found if one["kind"] == "Deployment"]

    assert len(deployments) == 4
    for one in deployments:
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "everfold"
        assert all(":" in each["image"] for each in one["spec"]["containers"])


@needs_kubectl
def test_each_role_has_its_own_url_in_the_overlay_of_users() -> None:
    secrets = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["volumes"][0]["secret"][
            "secretName"
        ]
        for one in rendered("overlays/users")
        if one["kind"] == "Deployment"
    }
    assert secrets == {
        "everfold-projector": "everfold-redis-projector",
        "everfold-gateway": "everfold-redis-gateway",
        "everfold-archiver": "everfold-redis-archiver",
        "comfyui": "everfold-redis-runner",
    }


def test_a_pod_may_send_traces_where_the_variable_that_it_names_says() -> None:
    policies = yaml.safe_load_all((KUBERNETES / "base" / "network.yaml").read_text())
    (egress,) = [one["spec"]["egress"] for one in policies if "egress" in one["spec"]]

    assert {port["port"] for rule in egress for port in rule["ports"]} == {53, 6379, 4318}


def test_the_namespace_that_keda_asks_is_the_one_of_the_guide() -> None:
    assert "kubectl create namespace studio\n" in (DEPLOY / "README.md").read_text()


def test_keda_asks_what_the_gateway_answers() -> None:
    file = KUBERNETES / "components" / "keda" / "scaled-object.yaml"
    (_, scaled) = yaml.safe_load_all(file.read_text())
    schema = yaml.safe_load((ROOT / "docs" / "contract" / "openapi.json").read_text())
    fields = schema["components"]["schemas"]["Scale"]["properties"]

    for trigger in scaled["spec"]["triggers"]:
        asked = trigger["metadata"]
        # KEDA has a namespace of its own, where a name without one is another Service's.
        assert asked["url"] == "http://everfold-gateway.studio:8189/scale/default"
        assert asked["valueLocation"] in fields
        assert asked["authMode"] == "bearer"
    assert scaled["spec"]["scaleTargetRef"]["name"] in pods()
