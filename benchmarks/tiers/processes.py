"""Tiers to be measured: each process of them real, held to the cores that it is given.

A fused server is started likewise, so that the two are alike but for what is compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.call import HOST
from benchmarks.server_under_test import ServerUnderTest, started

AHEAD: Mapping[str, Sequence[str]] = {
    "gateway": ("pre", "predict", "post"),
    "pre": ("predict",),
    "predict": ("post",),
    "post": (),
    "all": (),
}

Cores = Sequence[int]


@dataclass
class Tiers:
    """Those that run, by role."""

    of: dict[str, list[ServerUnderTest]] = field(default_factory=dict)

    @property
    def front(self) -> ServerUnderTest:
        """Whom clients ask."""
        return self.of["gateway" if "gateway" in self.of else "all"][0]

    def cpu_s(self) -> float:
        """Of all processes together."""
        return sum(server.cpu_s() for servers in self.of.values() for server in servers)


@contextmanager
def tiers(
    repository: Path, logs: Path, counts: Mapping[str, int], cores: Mapping[str, Cores] | None = None
) -> Iterator[Tiers]:
    """So many processes of each role ("all" is the fused server), ready; `cores` by role, else all."""
    made = Tiers()
    with ExitStack() as stack:
        for role in ("post", "predict", "pre", "gateway", "all"):
            for number in range(counts.get(role, 0)):
                options = [] if role == "gateway" else [f"--model-repository={repository}"]
                if role != "all":
                    options.append(f"--role={role}")
                for stage in AHEAD[role]:
                    ends = [f"{HOST}:{server.grpc_port}" for server in made.of.get(stage, ())]
                    options += [f"--{stage}-endpoints={','.join(ends)}"] if ends else []
                log = logs / f"{role}-{number}.log"
                held = (cores or {}).get(role)
                server = stack.enter_context(started(role, options, log, held=held))
                made.of.setdefault(role, []).append(server)
        yield made
