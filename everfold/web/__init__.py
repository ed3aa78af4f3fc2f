"""The gateway: one address for every client of ComfyUI and of the Comfy API v2.

Rule: it keeps nothing of its own. What it answers is in Redis and in the asset store, so that any
number of gateways serve one namespace, and a client may go on at another one. A name is imported
when it is first used, so that keys can be made and checked where no gateway can run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everfold.web.access.key_store import add_key, list_keys, remove_keys, revoke_key
    from everfold.web.application import app
    from everfold.web.caller import Caller
    from everfold.web.serving.links import base_url
    from everfold.web.settings import WebSettings

__all__ = [
    "Caller",
    "WebSettings",
    "add_key",
    "app",
    "base_url",
    "list_keys",
    "remove_keys",
    "revoke_key",
]

_MODULES = {
    "everfold.web.access.key_store": "add_key list_keys remove_keys revoke_key",
    "everfold.web.application": "app",
    "everfold.web.caller": "Caller",
    "everfold.web.serving.links": "base_url",
    "everfold.web.settings": "WebSettings",
}

if not TYPE_CHECKING:  # else any name at all would pass the type check

    def __getattr__(name: str) -> object:
        homes = (module for module, names in _MODULES.items() if name in names.split())
        home = next(homes, None)
        if home is None:
            raise AttributeError(f"module 'everfold.web' has no attribute {name!r}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value
