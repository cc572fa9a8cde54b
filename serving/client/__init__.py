"""The client: edits photos over gRPC, in threads or asyncio."""

from serving.client.aio import AsyncSegHGANClient
from serving.client.channel import TLS, Retry
from serving.client.errors import ClientError
from serving.client.sync import SegHGANClient

__all__ = ["TLS", "AsyncSegHGANClient", "ClientError", "Retry", "SegHGANClient"]
