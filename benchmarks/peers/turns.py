"""One peer's turns: it, the prototype and ours, asked the same in turn, while no other server runs."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import bare
from benchmarks.ask import Refused
from benchmarks.bare import Bare
from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import MODELS, Model, lay, version_folder
from benchmarks.peers import aims
from benchmarks.peers.environment import packages
from benchmarks.peers.known import PEERS, PROTOTYPE, Peer
from benchmarks.peers.process import batches, serving
from benchmarks.promises import SERVER
from benchmarks.report import middle_rate
from benchmarks.runs import Pace, Question, Say, Setup, in_turn
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import tercet


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which points are measured; `clients` is empty for what suits the model."""

    models: Sequence[str]
    doors: Sequence[Door]
    clients: Sequence[int]

    def clients_of(self, model: Model) -> Sequence[int]:
        return self.clients or (max(model.clients),)


def measure(name: str, chosen: Chosen, scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """The lines of one peer, with those of ours and the prototype from the same turns."""
    peer = PEERS[name]
    doors = [door for door in peer.doors if door in chosen.doors]
    told: dict[str, Any] = {"lines": [], "packages": packages(peer.environment) if peer.environment else {}}
    for model in [MODELS[each] for each in chosen.models] if doors else []:
        folder = scratch / model.name
        folder.mkdir()
        repository = folder / "models"
        lay([model], repository)
        truth = Bare(version_folder(repository, model.name)).answer(model.row())
        first = Question(model.name, model.row(), doors[0], 1, model.patience, truth)
        with ExitStack() as stack:
            servers = list(_started(peer, first, repository, folder, stack))
            if peer is PROTOTYPE:
                most = servers[0].front.max_batch_size(model.name)
                told.setdefault("limits", {})[model.name] = _limit(repository, model, most, pace)
            for door in doors:
                for clients in chosen.clients_of(model):
                    question = Question(model.name, model.row(), door, clients, model.patience, truth)
                    told["lines"] += _lines(servers, question, pace, say, findings)
    return told


def _started(
    peer: Peer, question: Question, repository: Path, folder: Path, stack: ExitStack
) -> Iterator[Setup]:
    """Ours, the prototype, and the peer; each as a set-up without runs."""
    ours = stack.enter_context(tercet(repository, folder / "ours.log"))
    yield Setup(SERVER, ours, ours.cpu_s, batches=lambda: ours.batches(question.model))
    most = max(1, ours.max_batch_size(question.model))
    file = version_folder(repository, question.model) / "model.onnx"
    for each in dict.fromkeys((PROTOTYPE, peer)):
        place = folder / each.name
        server = stack.enter_context(serving(each, question, file, most, place))
        yield Setup(each.name, server, server.cpu_s, each.speech, partial(batches, place))


def _lines(
    servers: Sequence[Setup], question: Question, pace: Pace, say: Say, findings: Findings
) -> list[Any]:
    """A line for each server. If one of them cannot answer rightly, the lines say so and have no figures."""
    setups = [Setup(each.name, each.front, each.cpu_s, each.speech, each.batches) for each in servers]
    point = {"model": question.model, "door": question.door, "clients": question.clients}
    try:
        in_turn(setups, question, pace, say)
    except (Refused, LoadFailed) as fault:
        say(f"  {question.model} over {question.door} could not be measured: {fault}")
        return [{"server": setups[-1].name, **point, "refusal": str(fault)}]
    if (question.model, question.clients) == (aims.MODEL, aims.CLIENTS):
        ours, *_, theirs = setups
        aims.add(findings, theirs.name, question.door, ours.medians(), theirs.medians())
        aims.add_better_triton(findings)
    return [{"server": each.name, **point, "median": each.medians(), "runs": each.runs} for each in setups]


def _limit(repository: Path, model: Model, max_batch_size: int, pace: Pace) -> Any:
    """The bare session at its best batch size; the run of the median rate."""
    seconds = pace.seconds * model.patience
    rates = [
        bare.rate(repository, model.name, max_batch_size=max_batch_size, seconds=seconds)
        for _ in range(pace.repeats)
    ]
    return asdict(middle_rate(rates))
