"""comfy-sdk, as it comes from the index, before a gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from comfy_sdk import AsyncComfy

from tests.web.site import Site


@pytest.fixture
async def sdk(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncComfy]:
    monkeypatch.setenv("COMFY_BASE_URL", site.url)
    monkeypatch.delenv("COMFY_API_KEY", raising=False)
    async with AsyncComfy() as client:
        yield client
