"""The client: edits photos over gRPC, in threads or asyncio."""

from serving.client.aio import AsyncSegHGANClient
from serving.client.errors import ClientError
from serving.client.sync import Retry, SegHGANClient

__all__ = ["AsyncSegHGANClient", "ClientError", "Retry", "SegHGANClient"]
