"""What runs the jobs of a gateway, and stores their files where it looks for them."""

from __future__ import annotations

from tests.support.programs.programs import Program
from tests.support.programs.stack import Comfy
from tests.web.site import Site


async def working(site: Site, *, slots: int = 2) -> tuple[Comfy, Program]:
    """Start a server, a runner and a projector; return the first two."""
    comfy = await site.stack.comfy()
    runner = await site.stack.runner(comfy, assets=site.everfold.assets.url, slots=slots)
    await site.stack.projector()
    return comfy, runner
