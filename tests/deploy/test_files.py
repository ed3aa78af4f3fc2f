from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.architecture.source_tree import ROOT

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def _run(*command: str | Path) -> str:
    """Run a checking tool and return what it complains about; empty when it is content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "exit code without words"


def _hadolint(dockerfile: Path) -> str:
    return _run(BIN / "hadolint", "--failure-threshold", "info", dockerfile)


def _compose_schema(compose: Path) -> str:
    return _run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)


def test_the_dockerfile_pleases_hadolint() -> None:
    assert _hadolint(DEPLOY / "Dockerfile") == ""


def test_the_compose_file_fits_the_compose_specification() -> None:
    assert _compose_schema(DEPLOY / "compose.yaml") == ""


def test_hadolint_would_complain(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /tmp && sudo pip install redis\n")

    assert "DL3006" in _hadolint(bad)


def test_the_schema_would_complain(tmp_path: Path) -> None:
    bad = tmp_path / "compose.yaml"
    bad.write_text("services:\n  redis:\n    imag: redis\n")

    assert "imag" in _compose_schema(bad)


def test_the_image_does_not_run_as_root_and_says_how_it_is() -> None:
    last_stage = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]

    assert "\nUSER 10001:10001\n" in last_stage
    assert "\nHEALTHCHECK " in last_stage


def test_compose_uses_the_redis_conf_that_is_tested() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()

    assert "./redis.conf:/usr/local/etc/redis/redis.conf:ro" in compose
    assert '["redis-server", "/usr/local/etc/redis/redis.conf"]' in compose


def compose() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def test_the_image_has_what_each_service_of_compose_needs() -> None:
    lock = (ROOT / "requirements" / "image.txt").read_text()

    needed = ("starlette", "uvicorn", "prometheus-client", "asyncpg", "cryptography", "obstore")
    for name in (*needed, "opentelemetry-sdk"):
        assert f"\n{name}==" in lock, name


def test_runners_and_gateways_store_files_at_one_place() -> None:
    for name in ("runner", "gateway"):
        assert compose()[name]["environment"]["EVERFOLD_ASSETS"] == "/assets"
        assert compose()[name]["volumes"] == ["assets:/assets"]


def test_what_listens_is_reached_from_this_machine_only() -> None:
    ports = {name: one["ports"] for name, one in compose().items() if "ports" in one}

    assert ports == {
        "gateway": ["127.0.0.1:8189:8189"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_each_service_of_compose_says_how_it_is_and_may_do_little() -> None:
    for name, one in compose().items():
        if one["image"] != "everfold:local":
            continue
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        port = one["command"][one["command"].index("--metrics-port") + 1]
        assert one["healthcheck"]["test"][-1] == port, name


def test_each_file_that_compose_mounts_is_there_but_for_the_secrets() -> None:
    every = compose()
    mounted = [volume for one in every.values() for volume in one.get("volumes", ())]
    files = [volume.partition(":")[0] for volume in mounted if volume.startswith("./")]

    assert len(files) == 6
    assert all((DEPLOY / file).is_file() for file in files)
    assert (DEPLOY / "redis-url").read_text() == "redis://redis:6379/0\n"


def test_prometheus_scrapes_each_process_of_compose() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "compose.yaml").read_text())
    (job,) = scraped["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    ours = {name for name, one in compose().items() if one["image"] == "everfold:local"}

    assert set(found["names"]) == ours
    assert {one["command"][-3] for name, one in compose().items() if name in ours} == {"9464"}
    assert found["port"] == 9464


def test_no_secret_stands_in_the_environment_of_compose() -> None:
    for name, one in compose().items():
        for key, value in one.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|KEY", key) or value.startswith("/run/"), name


@pytest.mark.parametrize(
    "section",
    [
        "Plain processes",
        "systemd",
        "Compose",
        "Kubernetes",
        "Users",
        "Stop and drain",
        "Upgrade",
        "Back up",
        "Restore",
        "Redis is down",
        "ComfyUI is down",
        "A job is stuck",
        "What to watch",
    ],
)
def test_the_runbook_has_a_section_for_each_situation(section: str) -> None:
    assert f"\n## {section}\n" in (DEPLOY / "README.md").read_text()
