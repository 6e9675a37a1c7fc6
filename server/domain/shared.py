"""The shared memory of `runtimes`, for tensors that go to another process of this host."""

from runtimes.slab import Place, Slab, SlabFull, map_to_read

__all__ = ["Place", "Slab", "SlabFull", "map_to_read"]
