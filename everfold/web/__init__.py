"""The gateway: one address for every client of ComfyUI and of the Comfy API v2.

Rule: it keeps nothing of its own. What it answers is in Redis and in the asset store, so that any
number of gateways serve one namespace, and a client may go on at another one.
"""

from __future__ import annotations

from everfold.web.app import app
from everfold.web.settings import WebSettings

__all__ = ["WebSettings", "app"]
