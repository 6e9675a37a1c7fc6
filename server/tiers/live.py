"""Decides which content of a version is live over the tiers, from what every process of them reports.

Pure: one version at a time, and what was live before is an argument. The laws, held by the tests:

- a content goes live once each stage that it has, has a process that is ready with that very content;
- it stays until a content that was not passed over is there in the same way, or until a tier that answers
  has nothing of it any more: one that is away, or is starting, says nothing, and requests are refused then;
- a content that any process has taken back is not live in any, however many have it ready;
- what was live before, or could have been, does not come back for as long as any process still has it: in the
  middle of a rollout nothing goes to and fro.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from server.domain.configuration import Platform
from server.domain.stage import StageName
from server.domain.state import UNLOADED, State, Status
from server.domain.tier import VersionReport

Key = tuple[str, int]
"""A model and a version of it."""

ENSEMBLE_STAGES: tuple[StageName, ...] = ("predict",)
"""Whose word on an ensemble counts: its steps are done at the gateway, and each tier has its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one process that answers has said of itself, up to now.

    stage      of the tier that it belongs to
    ready      whether it takes requests
    versions   by model and version; None in the place of a version for what is told of the whole model
    """

    stage: StageName
    address: str
    ready: bool
    versions: Mapping[tuple[str, int | None], VersionReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What serves of a version.

    stages   those that it has, in their order; none of an ensemble
    passed   contents that do not come after this one, for as long as any process has them
    lacks    the first stage that nobody is ready for at the moment; None if requests can be answered
    """

    content: str
    stages: tuple[StageName, ...]
    passed: frozenset[str] = frozenset()
    lacks: StageName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is live of a version, and its line of the index; None for what is not."""

    live: Live | None
    status: Status | None


def judge(
    key: Key, standings: Sequence[Standing], tiers: Collection[StageName], before: Live | None
) -> Judgement:
    """Judge one version. `tiers` are those that anybody was given endpoints of."""
    reports = [(each, report) for each in standings if (report := each.versions.get(key)) is not None]
    failed = taken_back(key, standings)
    told = {content: each for content, each in _stages_by_content(reports).items() if content not in failed}
    stages = told if before is None or before.content in failed else {before.content: before.stages, **told}
    whole = {
        content: count
        for content, needed in stages.items()
        if (count := _least_holders(key, content, needed, standings))
    }
    live = _choose(key, whole, stages, told.keys(), standings, before)
    if live is None:
        return Judgement(live=None, status=_status(key, reports, told, standings, tiers))
    state, reason = State.READY, ""
    if live.lacks is not None:
        _, reason = _why_not(key, live.content, live.lacks, standings, tiers)
        state = State.UNAVAILABLE
    since = max((report.since for _, report in reports if report.content == live.content), default=0.0)
    return Judgement(live=live, status=Status(*key, state, reason, since))


def taken_back(key: Key, standings: Sequence[Standing]) -> Mapping[str, str]:
    """The contents of a version that processes have taken back, and why: in the words of the first."""
    found: dict[str, str] = {}
    for each in standings:
        report = each.versions.get(key)
        if report is not None and report.taken_back:
            found.setdefault(report.taken_back, f"the {each.stage} tier at {each.address}: {report.reason}")
    return found


def leaving(key: Key, live: Live, standings: Sequence[Standing]) -> Sequence[Standing]:
    """The processes that say another version is to take the place of what is live."""
    return [
        each for each in standings if (report := able(each, key, live.content)) is not None and report.leaving
    ]


def is_leaving(key: Key, live: Live, standings: Sequence[Standing]) -> bool:
    """Whether a tier has it from nothing but processes that are to let it go."""
    going = {each.address for each in leaving(key, live, standings)}
    return any(
        own and all(each.address in going for each in own)
        for stage in live.stages
        if (own := [each for each in standings if each.stage == stage and able(each, key, live.content)])
    )


def able(standing: Standing, key: Key, content: str) -> VersionReport | None:
    """What a process says of a content that it is ready to do its part of; None if it is not."""
    report = standing.versions.get(key) if standing.ready else None
    return report if report is not None and report.ready and report.content == content else None


def lacking(stage: StageName, standings: Sequence[Standing], tiers: Collection[StageName]) -> str:
    """Why a tier takes no requests at all; empty if it does."""
    own = [each for each in standings if each.stage == stage]
    if any(each.ready for each in own):
        return ""
    if own:
        return f"the {stage} tier is not ready yet, or about to leave"
    if stage in tiers:
        return f"the {stage} tier has no endpoint that answers"
    return f"the {stage} tier is not known here: name its endpoints with --{stage}-endpoints"


def _stages_by_content(
    reports: Sequence[tuple[Standing, VersionReport]],
) -> dict[str, tuple[StageName, ...]]:
    """Each content that is there or on its way, and the stages that it needs."""
    found: dict[str, tuple[StageName, ...]] = {}
    for _, report in reports:
        if report.state in (State.READY, State.LOADING) and report.content and _is_told(report):
            found.setdefault(report.content, report.stages)
    return found


def _is_told(report: VersionReport) -> bool:
    """Whether it says what stages the version has; an ensemble has none."""
    return bool(report.stages) or report.platform == Platform.ENSEMBLE


def _needed(stages: tuple[StageName, ...]) -> tuple[StageName, ...]:
    return stages or ENSEMBLE_STAGES


def _least_holders(
    key: Key, content: str, stages: tuple[StageName, ...], standings: Sequence[Standing]
) -> int:
    """How many processes are ready for it, in the tier that has the fewest."""
    return min(
        sum(each.stage == stage and able(each, key, content) is not None for each in standings)
        for stage in _needed(stages)
    )


def _choose(
    key: Key,
    whole: Mapping[str, int],
    stages: Mapping[str, tuple[StageName, ...]],
    there: Set[str],
    standings: Sequence[Standing],
    before: Live | None,
) -> Live | None:
    """`whole` are the contents that every stage is ready for, by how many processes at the least.

    `stages` has what was live before, too; `there` only what processes have now, or are about to have.
    """
    passed = before.passed & there if before is not None else frozenset()
    if before is not None:
        fresh = whole.keys() - passed - {before.content}
        gone = before.content not in stages or _is_gone(key, before, standings)
        if not fresh and not gone:
            lacks = next(
                (
                    stage
                    for stage in _needed(before.stages)
                    if not any(each.stage == stage and able(each, key, before.content) for each in standings)
                ),
                None,
            )
            return Live(content=before.content, stages=before.stages, passed=passed, lacks=lacks)
        whole = {content: whole[content] for content in fresh or whole.keys() - {before.content}}
    if not whole:
        return None
    content = max(whole, key=lambda each: (whole[each], each))
    older = passed | (whole.keys() if before is None else whole.keys() | {before.content})
    return Live(content=content, stages=stages[content], passed=(older & there) - {content})


def _is_gone(key: Key, live: Live, standings: Sequence[Standing]) -> bool:
    """Whether a tier that answers has nothing of it any more. One that only starts may have it yet."""
    for stage in _needed(live.stages):
        own = [each for each in standings if each.stage == stage]
        if any(each.ready for each in own) and not any(
            (report := each.versions.get(key)) is not None
            and report.content == live.content
            and report.state in (State.READY, State.LOADING)
            for each in own
        ):
            return True
    return False


def _status(
    key: Key,
    reports: Sequence[tuple[Standing, VersionReport]],
    stages: Mapping[str, tuple[StageName, ...]],
    standings: Sequence[Standing],
    tiers: Collection[StageName],
) -> Status | None:
    """The line of a version that does not serve, which names the tier that it lacks."""
    if not reports:
        return None
    since = max(report.since for _, report in reports)
    if not stages:
        return Status(*key, State.UNAVAILABLE, _never(reports), since)
    content = max(stages, key=lambda each: (sum(each == report.content for _, report in reports), each))
    is_coming, reason = True, ""
    for stage in _needed(stages[content]):
        if any(each.stage == stage and able(each, key, content) for each in standings):
            continue
        coming, why = _why_not(key, content, stage, standings, tiers)
        if is_coming and (not reason or not coming):
            is_coming, reason = coming, why
    return Status(*key, State.LOADING if is_coming else State.UNAVAILABLE, reason, since)


def _never(reports: Sequence[tuple[Standing, VersionReport]]) -> str:
    """Why a version is in no tier, nor on its way to one: in the words of the first that has a reason."""
    if all(report.state is State.UNLOADING or report.reason == UNLOADED for _, report in reports):
        return UNLOADED
    told = [(each, report) for each, report in reports if report.reason not in ("", UNLOADED)]
    for standing, report in told:
        return f"the {standing.stage} tier says: {report.reason}"
    return f"the {reports[0][0].stage} tier does not have it ready"


def _why_not(
    key: Key, content: str, stage: StageName, standings: Sequence[Standing], tiers: Collection[StageName]
) -> tuple[bool, str]:
    """What keeps a tier from its part; and whether that may come by itself, as in the middle of a rollout."""
    own = [each for each in standings if each.stage == stage]
    if not own:
        return stage in tiers, lacking(stage, standings, tiers)
    said = [report for each in own if (report := each.versions.get(key)) is not None]
    if any(report.state is State.LOADING and report.content == content for report in said):
        return True, f"the {stage} tier is still loading it"
    for report in said:
        if report.state is State.UNAVAILABLE and report.reason:
            return False, f"the {stage} tier says: {report.reason}"
    if not any(each.ready for each in own):
        return True, lacking(stage, standings, tiers)
    if any(report.content == content and report.ready for report in said):
        return True, f"what has it of the {stage} tier is not ready yet, or about to leave"
    if any(report.content not in ("", content) for report in said):
        return True, f"the {stage} tier has other content of it"
    return True, f"the {stage} tier does not have it yet"
