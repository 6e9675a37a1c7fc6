"""What a gateway is made of: the ways to the tiers, and what these have."""

import asyncio
from contextlib import AbstractAsyncContextManager

from server.app.models import Models
from server.app.refused import StartRefused
from server.domain.phase import Station
from server.settings import Settings


def gateway_models(
    settings: Settings, station: Station, closing: asyncio.Event
) -> AbstractAsyncContextManager[Models]:
    """The models of the tiers, until the block is left."""
    raise StartRefused("--role=gateway is not offered yet")
