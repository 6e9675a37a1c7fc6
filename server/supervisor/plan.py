"""Which processes there are to be: their roles, ports, and the order in which they come and go. Pure.

All processes of one role share their ports, which stay the same over every restart: so whoever asks a tier
needs one address for it, and a new process can stand beside an old one until that has gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

LOOPBACK = "127.0.0.1"


class PlanInvalid(Exception):
    """The counts make no fleet; the sentence says why."""


class Role(StrEnum):
    """What a process does: everything, or its part. The names are those of `serve --role`."""

    ALL = "all"
    GATEWAY = "gateway"
    PRE = "pre"
    PREDICT = "predict"
    POST = "post"


WAVES = ((Role.PREDICT, Role.POST), (Role.PRE,), (Role.GATEWAY, Role.ALL))
"""Started one after the other, each once the one before has tried its models: who asks comes after whom."""

DRAINED = (Role.ALL, Role.GATEWAY, Role.PRE, Role.PREDICT, Role.POST)
"""Ended one after the other, the way that requests go: nobody is asked who has left."""

FRONT = (Role.ALL, Role.GATEWAY)
"""Those whom clients ask."""

ASKED: Mapping[Role, tuple[Role, ...]] = MappingProxyType(
    {
        Role.GATEWAY: (Role.PRE, Role.PREDICT, Role.POST),
        Role.PRE: (Role.PREDICT,),
        Role.PREDICT: (Role.POST,),
    }
)
"""The tiers that each role asks, and is told the endpoints of."""

MOST_OF_A_ROLE = 256


def counts(given: Mapping[Role, int], processors: int) -> dict[Role, int]:
    """How many processes of each role, by what was asked for and what there is to run on.

    Nothing asked for: all tiers, the pre tier with half of the processors and the gateway with a quarter,
    as what batches and what waits gain nothing by more processes. A tier that was not named beside others
    has one process; 0 leaves it out. Raises `PlanInvalid`.
    """
    for role, count in given.items():
        if not 0 <= count <= MOST_OF_A_ROLE:
            raise PlanInvalid(f"--{role}={count}: must be a whole number from 0 to {MOST_OF_A_ROLE}")
    tiers = {role: count for role, count in given.items() if role is not Role.ALL}
    if given.get(Role.ALL):
        if any(tiers.values()):
            named = ", ".join(f"--{role}" for role in tiers)
            raise PlanInvalid(f"--all has every stage in each process: it cannot stand beside {named}")
        return {Role.ALL: given[Role.ALL]}
    usual = {Role.GATEWAY: 1, Role.PRE: 1, Role.PREDICT: 1, Role.POST: 1}
    if not tiers:
        usual |= {Role.GATEWAY: max(1, processors // 4), Role.PRE: max(1, processors // 2)}
    chosen = {role: count for role, count in (usual | tiers).items() if count}
    for role in (Role.GATEWAY, Role.PREDICT):
        if role not in chosen:
            raise PlanInvalid(f"--{role}=0 leaves nobody to do that part: every request needs it")
    return chosen


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the processes of one role are asked."""

    address: str
    http: int
    grpc: int

    @property
    def endpoint(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.grpc}"


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """The place of one process: whoever takes it after a restart is the same to an onlooker."""

    role: Role
    number: int

    def __str__(self) -> str:
        return f"{self.role}.{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole fleet.

    count          of each role
    ports          of each role
    repositories   what is served, as it is written on the command line of `serve`
    options        of every process: flag to values
    processors     to be shared by those that run models
    """

    count: Mapping[Role, int]
    ports: Mapping[Role, Ports]
    repositories: Sequence[str] = ()
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    processors: int = 1

    def waves(self) -> Iterator[list[Seat]]:
        """The seats in the order of their start."""
        for roles in WAVES:
            wave = [Seat(role, number) for role in roles for number in range(self.count.get(role, 0))]
            if wave:
                yield wave

    def seats(self) -> list[Seat]:
        return [seat for wave in self.waves() for seat in wave]

    def arguments(self, seat: Seat, metrics_port: int) -> list[str]:
        """Behind the program: the command line of the one who takes this seat."""
        role, ports = seat.role, self.ports[seat.role]
        own: dict[str, Sequence[str]] = {
            "--http-address": [ports.address],
            "--http-port": [str(ports.http)],
            "--reuse-http-port": ["true"],
            "--grpc-address": [ports.address],
            "--grpc-port": [str(ports.grpc)],
            "--reuse-grpc-port": ["true"],
            "--allow-metrics": ["true"],
            "--metrics-address": [LOOPBACK],
            "--metrics-port": [str(metrics_port)],
            "--log-file": [""],
        }
        if role is not Role.ALL:
            own["--role"] = [role]
            for asked in ASKED.get(role, ()):
                if asked in self.ports and self.count.get(asked):
                    own[f"--{asked}-endpoints"] = [self.ports[asked].endpoint]
        if role in (Role.ALL, Role.PREDICT) and self.count[role] > 1:
            share = max(1, self.processors // self.count[role])
            own |= {"--cpu-threads": [str(share)]} if "--cpu-threads" not in self.options else {}
        repositories = () if role is Role.GATEWAY else self.repositories
        options = {**self.options, **own}
        if role is Role.GATEWAY:
            options.pop("--model-repository", None)
        return [
            "serve",
            *repositories,
            *(f"{flag}={value}" for flag, values in options.items() for value in values),
        ]
