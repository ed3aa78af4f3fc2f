"""The stored files of a namespace, for programs without an event loop."""

from __future__ import annotations

from everfold.streams.assets.asset_store import AssetStore as AsyncAssetStore
from everfold.streams.assets.blob_store import BlobStore
from everfold.sync.calls import Blocking, blocking, streaming
from everfold.sync.connection import Connection


class AssetStore(Blocking[AsyncAssetStore]):
    """The assets of one namespace. Many threads may use it at once."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, lambda client: client.assets)

    @property
    def url(self) -> str:
        """Where the bytes are, as people write it."""

        async def url(store: AsyncAssetStore) -> str:
            return store.url

        return self._connection.call(lambda client: url(client.assets))

    @property
    def blobs(self) -> BlobStore:
        """Where the bytes are; its calls are those of asyncio."""

        async def blobs(store: AsyncAssetStore) -> BlobStore:
            return store.blobs

        return self._connection.call(lambda client: blobs(client.assets))

    put = blocking(AsyncAssetStore.put)
    put_stored = blocking(AsyncAssetStore.put_stored)
    restore = blocking(AsyncAssetStore.restore)
    get = blocking(AsyncAssetStore.get)
    get_many = blocking(AsyncAssetStore.get_many)
    keep = blocking(AsyncAssetStore.keep)
    open = streaming(AsyncAssetStore.open)
    remove = blocking(AsyncAssetStore.remove)
    remove_if = blocking(AsyncAssetStore.remove_if)
    used_bytes = blocking(AsyncAssetStore.used_bytes)
