"""The trace settings that clients may read and change: of all models, or of one."""

from server.domain.catalogue import Catalogue
from server.domain.errors import NotSupported
from server.observe.tracing.sampling import Change, Sampler, Sampling
from server.observe.tracing.tracer import Tracer


class TraceSettings:
    """Over the tracer of the process. Without one nothing is traced, and it cannot be begun.

    mode   how traces leave, in Triton's words
    """

    def __init__(self, tracer: Tracer | None, catalogue: Catalogue) -> None:
        self._sampler = tracer.sampler if tracer is not None else Sampler(Sampling())
        self._catalogue = catalogue
        self._is_collected = tracer is not None
        self.mode = "opentelemetry" if tracer is not None else "triton"

    def of(self, model: str) -> Sampling:
        """Of all models where none is named. Raises `ModelNotFound` or `ModelNotReady`."""
        if model:
            self._catalogue.facts(model)
        return self._sampler.of(model)

    def change(self, change: Change, model: str) -> Sampling:
        """Also raises `NotSupported` where nobody collects traces."""
        self.of(model)
        if change.level == "TIMESTAMPS" and not self._is_collected:
            raise NotSupported(
                "nobody collects traces: start the server with --trace-otlp-endpoint, or with --trace-config"
            )
        return self._sampler.change(change, model)
