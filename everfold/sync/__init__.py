"""Everfold for programs without an event loop: Django, Flask, Celery, scripts and notebooks.

`everfold = sync.connect(...)` is all that there is to set up. Each call is that of the asyncio
client, with the same arguments, results and errors, and returns when it is done.
"""

from everfold.sync.assets import AssetStore
from everfold.sync.batch import Batch
from everfold.sync.client import Everfold, connect
from everfold.sync.reading import OpenOutput

__all__ = ["AssetStore", "Batch", "Everfold", "OpenOutput", "connect"]
