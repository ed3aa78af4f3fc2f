"""Websockets that count how often their peer has read.

Rule: it is uvicorn's own in all else.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class BoundedSocket(WebSocketsSansIOProtocol):
    """uvicorn's, with bounds."""

    resumed = 0

    def resume_writing(self) -> None:
        """Go on sending."""
        self.resumed += 1
        super().resume_writing()
