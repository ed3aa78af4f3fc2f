"""Files and settings of a user over HTTP, as ComfyUI's web front end writes and lists them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from everfold import Everfold
from everfold.web import add_key
from everfold.web.caller import Role
from tests.support.wait import eventually
from tests.web.site import Site, client_of

pytestmark = pytest.mark.anyio

GRAPH = '{"nodes": []}'


async def show_key(
    client: httpx.AsyncClient, everfold: Everfold, user: str, role: Role = "user"
) -> None:
    """Let the client show a key of its own from now on."""
    _, key = await add_key(everfold.log, f"{user}'s {role}", user=user, role=role)

    async def is_asked() -> bool:
        return (await client.get("/users", headers={"Authorization": ""})).status_code == 401

    await eventually(is_asked, 10)
    client.headers["Authorization"] = f"Bearer {key.reveal()}"


async def saved(client: httpx.AsyncClient, name: str, text: str = GRAPH, **query: str) -> object:
    """Write a file as the front end does; return what is answered."""
    path = name.replace("%", "%25").replace("/", "%2F").replace(" ", "%20")
    answer = await client.post(f"/api/userdata/{path}", params=query, content=text)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listing(client: httpx.AsyncClient, **query: str) -> object:
    answer = await client.get("/api/userdata", params={"dir": "workflows", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_saved_graph_is_read_and_listed(client: httpx.AsyncClient) -> None:
    told = await saved(client, "workflows/my graph.json", full_info="true")

    answer = await client.get("/api/userdata/workflows%2Fmy%20graph.json")
    assert (answer.status_code, answer.text) == (200, GRAPH)
    assert isinstance(told, dict)
    assert (told["path"], told["size"]) == ("workflows/my graph.json", len(GRAPH))
    shown = await listing(client, recurse="true", split="false", full_info="true")
    assert shown == [{**told, "path": "my graph.json"}]


async def test_listings_have_comfyuis_forms(client: httpx.AsyncClient) -> None:
    for name in ("workflows/b.json", "workflows/sub/a.json", "comfy.templates.json"):
        await saved(client, name)

    assert await listing(client) == ["b.json"]
    assert await listing(client, recurse="true") == ["b.json", "sub/a.json"]
    assert await listing(client, recurse="true", split="true") == [
        ["b.json", "b.json"],
        ["sub/a.json", "sub", "a.json"],
    ]
    assert await listing(client, dir="subgraphs", recurse="true") == []
    assert await listing(client, dir="/") == ["comfy.templates.json"]
    assert (await client.get("/userdata")).status_code == 400


async def test_the_newer_listing_has_folders_first(client: httpx.AsyncClient) -> None:
    for name in ("a.json", "workflows/b.json", "workflows/sub/c.json"):
        await saved(client, name)

    rows = (await client.get("/v2/userdata")).json()
    inner = (await client.get("/v2/userdata", params={"path": "workflows"})).json()

    assert [(row["type"], row["path"]) for row in rows] == [
        ("directory", "workflows/sub"),
        ("directory", "workflows"),
        ("file", "a.json"),
        ("file", "workflows/b.json"),
        ("file", "workflows/sub/c.json"),
    ]
    assert [row["path"] for row in inner] == [
        "workflows/sub",
        "workflows/b.json",
        "workflows/sub/c.json",
    ]
    assert rows[2]["size"] == len(GRAPH)
    assert "size" not in rows[0]
    for path, status in (("none", 404), ("a.json", 400), ("../x", 403)):
        answer = await client.get("/v2/userdata", params={"path": path})
        assert answer.status_code == status, path


async def test_a_file_is_replaced_unless_that_is_declined(client: httpx.AsyncClient) -> None:
    await saved(client, "a.json", "first")
    await saved(client, "a.json", "second")

    declined = await client.post("/userdata/a.json?overwrite=false", content="third")

    assert declined.status_code == 409
    assert (await client.get("/userdata/a.json")).text == "second"


async def test_a_file_is_moved(client: httpx.AsyncClient) -> None:
    await saved(client, "workflows/a.json")
    await saved(client, "workflows/b.json", "other")
    move = "/api/userdata/workflows%2Fa.json/move/workflows%2F"

    declined = await client.post(f"{move}b.json?overwrite=false")
    moved = await client.post(f"{move}c.json?overwrite=false&full_info=true")
    again = await client.post(f"{move}d.json")

    assert (declined.status_code, again.status_code) == (409, 404)
    assert moved.json()["path"] == "workflows/c.json"
    assert await listing(client) == ["b.json", "c.json"]


async def test_a_folder_may_be_called_move(client: httpx.AsyncClient) -> None:
    await saved(client, "workflows/move/a.json")

    assert await listing(client, recurse="true") == ["move/a.json"]


async def test_a_file_is_deleted(client: httpx.AsyncClient) -> None:
    await saved(client, "workflows/a.json")

    deleted = await client.delete("/api/userdata/workflows%2Fa.json")
    again = await client.delete("/api/userdata/workflows%2Fa.json")

    assert (deleted.status_code, again.status_code) == (204, 404)
    assert await listing(client) == []


@pytest.mark.parametrize(
    "path", ["..%2Fa", "a%2F..%2F..%2Fb", "%2e%2e", "a%00b", "a%0Ab", "%ff", "." * 2000]
)
async def test_a_name_that_is_no_path_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(f"/userdata/{path}", content="x")

    assert answer.status_code in (403, 404, 405)


async def test_markup_is_never_shown_as_a_page(client: httpx.AsyncClient) -> None:
    await saved(client, "page.html", "<script>alert(1)</script>")

    headers = (await client.get("/userdata/page.html")).headers

    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"


async def test_what_the_front_end_reads_at_its_start_is_empty_at_first(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/userdata/workflows%2F.index.json")).json() == {}
    assert (await client.get("/userdata/comfy.templates.json")).json() == []
    await saved(client, "comfy.templates.json", '[{"name": "a"}]')
    assert (await client.get("/userdata/comfy.templates.json")).json() == [{"name": "a"}]


async def test_a_users_style_sheet_is_one_and_empty_where_there_is_none(
    client: httpx.AsyncClient,
) -> None:
    before = await client.get("/api/userdata/user.css")
    await saved(client, "user.css", "body { color: red }")
    after = await client.get("/api/userdata/user.css")

    assert (before.status_code, before.text) == (200, "")
    assert after.text == "body { color: red }"
    assert after.headers["content-type"].startswith("text/css")
    assert after.headers["content-disposition"] == "inline"


async def test_a_file_that_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/userdata/a.json", content=bytes(4 * 1024 * 1024 + 1))

    assert answer.status_code == 413
    assert (await client.get("/userdata/a.json")).status_code == 404


async def test_settings_are_written_one_by_one_or_together(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/settings")).json() == {}

    one = await client.post("/api/settings/Comfy.ColorPalette", json="dark")
    more = await client.post("/api/settings", json={"Comfy.A": {"x": [1, None]}, "Comfy.B": False})

    assert (one.status_code, more.status_code) == (200, 200)
    whole = {"Comfy.ColorPalette": "dark", "Comfy.A": {"x": [1, None]}, "Comfy.B": False}
    assert (await client.get("/settings")).json() == whole
    assert (await client.get("/api/settings/Comfy.A")).json() == {"x": [1, None]}
    path = "/api/settings/pack%2FColor%20of%20links"
    assert (await client.post(path, json=7)).status_code == 200
    assert (await client.get(path)).json() == 7
    assert (await client.get("/settings")).json()["pack/Color of links"] == 7
    none = await client.get("/api/settings/Comfy.C")
    assert (none.status_code, none.json()) == (200, None)


async def test_settings_that_are_written_at_once_are_all_kept(client: httpx.AsyncClient) -> None:
    posts = [client.post(f"/settings/s{number}", json=number) for number in range(20)]
    await asyncio.gather(*posts)

    assert (await client.get("/settings")).json() == {f"s{number}": number for number in range(20)}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/settings/a", b"{", 400),
        ("/settings/a", b"", 400),
        ("/settings/a", b'"\\ud800"', 400),
        ("/settings/a", b"nul", 400),
        ("/settings/a", b"[" * 100_000, 400),
        ("/settings/a", b'"%s"' % (b"x" * 2_000_000), 413),
        ("/settings", b"[]", 422),
        ("/settings", b"{} x", 400),
    ],
)
async def test_what_is_no_setting_is_refused(
    client: httpx.AsyncClient, path: str, body: bytes, status: int
) -> None:
    answer = await client.post(path, content=body)

    assert answer.status_code == status, answer.text
    assert (await client.get("/settings")).json() == {}


async def test_each_user_has_files_and_settings_of_its_own(
    client: httpx.AsyncClient, site: Site, everfold: Everfold
) -> None:
    await show_key(client, everfold, "ada")
    async with client_of(site) as other:
        await show_key(other, everfold, "bob")
        for one, user in ((client, "ada"), (other, "bob")):
            await saved(one, "workflows/a.json", user)
            assert (await one.post("/settings/name", json=user)).status_code == 200

        for one, user in ((client, "ada"), (other, "bob")):
            assert (await one.get("/userdata/workflows%2Fa.json")).text == user
            assert (await one.get("/settings")).json() == {"name": user}
        assert (await other.delete("/userdata/workflows%2Fa.json")).status_code == 204
    assert await listing(client) == ["a.json"]


async def test_a_reader_looks_and_writes_nothing(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await show_key(client, everfold, "ada", "reader")

    assert (await client.get("/settings")).status_code == 200
    assert (await client.post("/settings/a", json=1)).status_code == 403
    assert (await client.post("/userdata/a.json", content="x")).status_code == 403
    assert (await client.delete("/userdata/a.json")).status_code == 403


async def test_there_is_no_user_to_choose(client: httpx.AsyncClient) -> None:
    assert (await client.get("/users")).json() == {"storage": "server", "migrated": True}
