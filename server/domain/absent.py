"""What the protocol has and this server does not offer: one sentence for each, at every door."""

from server.domain.errors import NotSupported, RegionUnknown


def no_shared_memory() -> NotSupported:
    """For whoever registers or unregisters a region; Triton's sentence begins with the same words."""
    return NotSupported("Client shared memory is disabled: send the tensors in the request itself")


def check_region(kind: str, region: str) -> None:
    """Of a status; `region` is empty where all are meant. Raises `RegionUnknown`, as none is registered."""
    if region:
        raise RegionUnknown(kind, region)
