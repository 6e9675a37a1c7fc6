"""The kinds of versions that a request may reach: the one place where another kind is added."""

from collections.abc import Callable

from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.idle import IdleVersion
from server.lifecycle.part_version import PartVersion
from server.lifecycle.remote import RemoteVersion
from server.lifecycle.version import ServedVersion

Plain = ServedVersion | RemoteVersion
"""What a request may reach without a task: it has one queue."""

Served = Plain | EnsembleVersion | IdleVersion | PartVersion
"""Any version that a request may reach; one that is not `staged` is `Plain`."""

Find = Callable[[str, str], Served]
"""The version that serves a model and a version as callers write them; raises a `ServingError`."""
