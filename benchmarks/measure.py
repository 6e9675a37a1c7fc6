"""The measurement itself: check every answer, warm up, then time all points in turn, again and again.

In turn, not one after the other: what disturbs the machine for a minute then spoils one run of many points,
which the median drops, and not all the runs of one. Needs nothing of a server but `ServerUnderTest`, so
others can be measured beside ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks import abreast, bare
from benchmarks.ask import Refused, ask, check
from benchmarks.bare import Bare, BareRate
from benchmarks.call import Call, Door
from benchmarks.codec import encode
from benchmarks.load import load
from benchmarks.models import Model, version_folder
from benchmarks.report import Abreast, Figures, Line, Point, Report
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import ServerUnderTest, mean_batch

WARM_UP_S = 1
LIMIT_SHARE = 1.6
"""Of the timed seconds, what the bare session takes with its start and its search for a batch size."""

Say = Callable[[str], None]
"""Prints one line of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    seconds    of one timed run, before a model's patience
    repeats    timed runs of each point, and so many times more of what takes turns with the bare session
    """

    models: Sequence[Model]
    doors: Sequence[Door]
    seconds: int
    repeats: int

    def seconds_of(self, model: Model) -> int:
        return self.seconds * model.patience

    @property
    def expected_s(self) -> float:
        """How long one server will take, without starting."""
        timed = sum(
            self.seconds_of(model) * (LIMIT_SHARE + len(self.doors) * len(model.clients))
            for model in self.models
        )
        turns = sum(
            len(self.doors) * abreast.expected_s(clients, self.repeats)
            for model in self.models
            if model.abreast
            for clients in model.clients
        )
        return self.repeats * timed + turns + WARM_UP_S * len(self.models) * len(self.doors)


@dataclass(frozen=True, slots=True)
class _Target:
    """A line, and what its runs need."""

    server: ServerUnderTest
    model: Model
    line: Line
    call: Call
    reply_bytes: int


def measure(servers: Sequence[ServerUnderTest], repository: Path, plan: Plan, say: Say) -> Report:
    """Every server serves `repository`; the first says how large the batches of the bare session may be.

    Raises `ServerFailed` if a server goes away in mid-run. Any other fault costs its own lines only.
    """
    targets = [target for server in servers for target in _targets(server, repository, plan, say)]
    limits: dict[str, list[BareRate]] = {model.name: [] for model in plan.models}
    for repeat in range(1, plan.repeats + 1):
        for model in plan.models:
            say(f"run {repeat} of {plan.repeats}: {model.name}")
            limit = bare.rate(
                repository,
                model.name,
                max_batch_size=servers[0].max_batch_size(model.name),
                seconds=plan.seconds_of(model),
            )
            limits[model.name].append(limit)
            say(f"  {'bare session':<20}{limit.rows_per_s:>10,.1f}/s in batches of {limit.batch_size}")
            for target in targets:
                if target.model is model and not target.line.refusal:
                    say("  " + _time(target, plan.seconds_of(model)))
    turns = [_abreast(targets, model, repository, plan, say) for model in plan.models if model.abreast]
    return Report([target.line for target in targets], limits, [*chain.from_iterable(turns)])


def _targets(server: ServerUnderTest, repository: Path, plan: Plan, say: Say) -> Iterator[_Target]:
    """Every line of one server, its door checked and warm."""
    for model in plan.models:
        row = model.row()
        truth = Bare(version_folder(repository, model.name)).answer(row)
        for door in plan.doors:
            call = encode(door, model.name, row, http_port=server.http_port, grpc_port=server.grpc_port)
            reply_bytes, refusal = 0, ""
            try:
                reply = ask(call)
                check(reply.outputs, truth)
                reply_bytes = reply.body_bytes
                load(call, clients=max(model.clients), seconds=WARM_UP_S, reply_bytes=reply_bytes)
            except (Refused, LoadFailed) as fault:
                refusal = str(fault)
            say(f"{server.name}: {model.name} over {door}: {refusal or 'answers rightly'}")
            for clients in model.clients:
                point = Point(server.name, model.name, door, clients)
                yield _Target(server, model, Line(point, refusal=refusal), call, reply_bytes)


def _abreast(
    targets: Sequence[_Target], model: Model, repository: Path, plan: Plan, say: Say
) -> Iterator[Abreast]:
    """Each point of a model in turn with the bare session; one whose runs fail costs its own line."""
    asked = [target for target in targets if target.model is model and target.line.is_valid]
    if not asked:
        return
    with abreast.session(repository, model.name) as session:
        best = abreast.best_batch(session, asked[0].server.max_batch_size(model.name))
        say(f"in turn with the bare session, {model.name} in batches of {best}")
        for target in asked:
            point, call = target.line.point, target.call
            try:
                if point.clients > 1:
                    seen = abreast.rates(session, best, point, call, plan.repeats)
                else:
                    seen = abreast.latencies(session, point, call, target.reply_bytes, plan.repeats)
            except LoadFailed as fault:
                target.line.refusal = str(fault)
                continue
            target.server.forget_log()
            say(f"  {point.server} {point.door} {point.clients}".ljust(22) + f"{seen.share:.1%}")
            yield seen


def _time(target: _Target, seconds: int) -> str:
    """Add one run to the target's line, or the reason why there is none; what to say of it."""
    server, point = target.server, target.line.point
    title = f"{point.server} {point.door} {point.clients}".ljust(20)
    batches_before, cpu_before = server.batches(point.model), server.cpu_s()
    try:
        sample = load(target.call, clients=point.clients, seconds=seconds, reply_bytes=target.reply_bytes)
    except LoadFailed as fault:
        target.line.refusal = str(fault)
        return f"{title}{fault}"
    cpu_s, batches = server.cpu_s() - cpu_before, server.batches(point.model)
    server.forget_log()
    figures = Figures(
        requests_per_s=sample.requests_per_s,
        p50_ms=sample.p50_ms,
        p99_ms=sample.p99_ms,
        cpu_us=cpu_s / sample.requests * 1e6,
        mean_batch=mean_batch(batches_before, batches),
        errors=sample.errors,
        generator=sample.generator,
    )
    target.line.runs.append(figures)
    failed = f", {figures.errors} ERRORS" if figures.errors else ""
    return (
        f"{title}{figures.requests_per_s:>10,.1f}/s, p50 {figures.p50_ms:.2f} ms, "
        f"CPU {figures.cpu_us:,.0f} us a request{failed}"
    )
