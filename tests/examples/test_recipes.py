"""The code of docs/RECIPES.md: it is that of examples/recipes, and each piece of that works."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import httpx
import pytest

from everfold import sync
from everfold.sinks.signing import read_secret, sign
from everfold.testing import Farm, farm_in_thread
from tests.architecture.source_tree import ROOT

pytestmark = pytest.mark.anyio

SECRET = "whsec_YSBzZWNyZXQgb2YgdHdlbnR5LWZvdXIgYg=="
PAGE = (ROOT / "docs" / "RECIPES.md").read_text()
RECIPES = sorted(path for path in (ROOT / "examples/recipes").glob("*.py") if path.stem[0] != "_")


@pytest.fixture(scope="module")
def farm(redis_server: str) -> Iterator[Farm]:
    with farm_in_thread(redis_server, speed=100.0) as found:
        yield found


@pytest.fixture
def recipe(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> ModuleType:
    monkeypatch.setenv("REDIS_URL", farm.url)
    monkeypatch.setenv("EVERFOLD_NAMESPACE", farm.namespace)
    monkeypatch.setenv("EVERFOLD_ASSETS", str(farm.assets))
    monkeypatch.setenv("EVERFOLD_SINK_CALLBACKS_SECRET", SECRET)
    return import_module(f"examples.recipes.{request.param}")


def using(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recipe", [name], indirect=True)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_page_has_each_recipe_as_it_runs(path: object) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert path.read_text() in blocks  # type: ignore[attr-defined]


@using("fastapi_app")
async def test_fastapi_submits_shows_and_streams(recipe: ModuleType) -> None:
    app = recipe.app
    transport = httpx.ASGITransport(app)
    async with (
        recipe.lifespan(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as web,
    ):
        made = (await web.post("/pictures", params={"order": "1"})).json()
        again = (await web.post("/pictures", params={"order": "1"})).json()
        assert (made["created"], again["created"]) == (True, False)
        stream = (await web.get(f"/pictures/{made['job_id']}/events")).text
        shown = (await web.get(f"/pictures/{made['job_id']}")).json()
        assert (await web.get("/pictures/nothing")).status_code == 404
    assert stream.rstrip().endswith("succeeded 100%")
    assert shown["status"] == "succeeded"


@using("flask_app")
def test_flask_submits_shows_and_receives(recipe: ModuleType) -> None:
    web = recipe.app.test_client()
    made = web.post("/pictures?order=2").get_json()

    assert recipe.everfold.wait(made["job_id"], timeout_s=30).status == "succeeded"
    assert web.get(f"/pictures/{made['job_id']}").get_json()["status"] == "succeeded"
    assert web.get("/pictures/nothing").status_code == 404
    body = b'{"type":"everfold.test","timestamp":"2026-11-22T20:29:19Z","data":{}}'
    headers = sign([read_secret(SECRET)], "msg_1", int(time.time()), body)
    assert web.post("/done", data=body, headers=headers).status_code == 204
    assert web.post("/done", data=b"x", headers=headers).status_code == 401
    recipe.everfold.close()


@using("django_app")
def test_django_submits_shows_and_follows(
    recipe: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    from django.core.management import call_command
    from django.test import Client

    web = Client()
    made = web.get("/pictures", {"order": "3"}).json()
    call_command(recipe.Command(), made["job_id"])

    assert capsys.readouterr().out.rstrip().endswith("succeeded 100%")
    assert web.get(f"/pictures/{made['job_id']}").json()["status"] == "succeeded"
    assert web.get("/pictures/nothing").status_code == 404
    recipe.everfold.close()


@using("celery_app")
def test_celery_makes_a_picture(recipe: ModuleType) -> None:
    names = recipe.make_picture.apply(args=["4"]).get()

    assert len(names) == 1
    assert names[0].endswith(".png")
    assert recipe.make_picture.apply(args=["4"]).get() == names
    recipe.everfold.close()


def test_an_application_is_tested_without_a_gpu(farm: Farm) -> None:
    from examples.workflow import small_picture

    with sync.connect(farm.url, namespace=farm.namespace) as everfold:
        assert everfold.wait(everfold.submit(small_picture()).job_id, 30).status == "succeeded"
