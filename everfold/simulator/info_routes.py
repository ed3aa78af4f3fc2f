"""What a server says of itself over HTTP: version, devices, node classes, model files."""

from __future__ import annotations

from aiohttp import web

from everfold.simulator.nodes.folders import Folders
from everfold.simulator.nodes.shapes import described
from everfold.simulator.sockets import FEATURES
from everfold.simulator.validation import Catalogue

VERSION = "0.3.64"


class InfoRoutes:
    def __init__(self, catalogue: Catalogue, folders: Folders) -> None:
        self._catalogue, self._folders = catalogue, folders

    def table(self) -> list[web.RouteDef]:
        """Return the routes, without the copies under /api."""
        return [
            web.get("/system_stats", self._get_system_stats),
            web.get("/features", self._get_features),
            web.get("/object_info", self._get_object_info),
            web.get("/object_info/{name}", self._get_object_info_of),
            web.get("/models", self._get_models),
            web.get("/models/{folder}", self._get_models_of),
            web.post("/free", self._post_free),
        ]

    async def _get_system_stats(self, request: web.Request) -> web.Response:
        system = {
            "os": "posix",
            "ram_total": 0,
            "ram_free": 0,
            "comfyui_version": VERSION,
            "python_version": "3.11",
            "pytorch_version": "none",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        device = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 0, "vram_free": 0}
        return web.json_response({"system": system, "devices": [device]})

    async def _get_features(self, request: web.Request) -> web.Response:
        return web.json_response(FEATURES)

    async def _get_object_info(self, request: web.Request) -> web.Response:
        return web.json_response({name: self._described(name) for name in self._catalogue.shapes})

    async def _get_object_info_of(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        is_known = name in self._catalogue.shapes
        return web.json_response({name: self._described(name)} if is_known else {})

    def _described(self, name: str) -> dict[str, object]:
        return described(name, self._catalogue.shapes[name], self._catalogue.files)

    async def _get_models(self, request: web.Request) -> web.Response:
        return web.json_response(self._folders.model_folders())

    async def _get_models_of(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in self._folders.model_folders():
            return web.Response(status=404)
        return web.json_response(self._folders.models(folder))

    async def _post_free(self, request: web.Request) -> web.Response:
        return web.Response()
