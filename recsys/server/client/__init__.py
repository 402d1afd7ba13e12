"""A thin client of the HTTP server, sync and async."""

from recsys.server.client.clients import AsyncClient as AsyncClient
from recsys.server.client.clients import Client as Client
