"""The kinds of versions that a request may reach: the one place where another kind is added."""

from collections.abc import Callable

from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.idle import IdleVersion
from server.lifecycle.version import ServedVersion

Served = ServedVersion | EnsembleVersion | IdleVersion
"""Any version that a request may reach; one that is not `staged` is a `ServedVersion`."""

Find = Callable[[str, str], Served]
"""The version that serves a model and a version as callers write them; raises a `ServingError`."""
