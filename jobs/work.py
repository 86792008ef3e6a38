"""The works of a study: commands with what they wait for and how one sees that they are done.

What a work needs may be known only when its turn comes (a table's name, a count of steps), so its
facts are asked for then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataprep.manifest import DataError
from jobs import results
from jobs.forecast import trained
from jobs.study import Evaluation, Member, Study


@dataclass(frozen=True, kw_only=True)
class Work:
    """One command.

    kind, alike: what it is a case of, roughly and closely, for estimates of time.
    folder: where its output.log lies; works of one folder never run at once.
    act: what is done here instead of a command. after: labels of works that must be done before.
    part_of: the label of the training that it belongs to. alone: nothing else runs beside it.
    share: how much of it is done, 0 to 1, by what it has written so far; None: it does not tell.
    """

    label: str
    kind: str
    folder: Callable[[], Path]
    is_done: Callable[[], bool]
    command: Callable[[], Sequence[str]] = tuple
    act: Callable[[], None] | None = None
    alike: str = ""
    after: tuple[str, ...] = ()
    part_of: str = ""
    alone: bool = False
    share: Callable[[], float | None] = lambda: None
    lacking: str = "not done"  # what is said where it is not


def works(study: Study, members: Sequence[Member]) -> Iterator[Work]:
    """Yield all works of a study in their order: preparations, then a run and what belongs to it.

    What must be alone comes last: it holds up no training, and times are measured one behind the
    other.
    """
    yield from study.preparations
    last: list[Work] = []
    for member in members:
        yield training(member, after=member.variant.after)
        if study.judge and member.is_finished:
            yield from _lost(member, study.judge)
        for evaluation in study.evaluations:
            if results.is_built(evaluation, member.execution.data_root):
                if not _is_own(member, evaluation):
                    yield _judging(member, _with_judged(member, evaluation, study.judge))
        for work in study.each(member):
            if work.alone:
                last.append(work)
            else:
                yield work
    yield from last


def _lost(member: Member, judge: tuple[str, ...]) -> Iterator[Work]:
    """Yield what judges again the splits that a training judged, where that is gone.

    An evaluation of the run's own set writes all of its figures anew: those of other splits stay.
    """
    try:
        if results.is_evaluated(member, member.judged(judge)):
            return
        kept = results.evaluated(member, member.judged(()))
    except DataError:  # damaged: written anew
        kept = ()
    evaluation = member.judged(tuple(dict.fromkeys([*judge, *kept])))
    label = f"{member.name} on {', '.join(judge)}"
    yield replace(_judging(member, evaluation), label=label, kind="judge")


def _with_judged(member: Member, evaluation: Evaluation, judge: tuple[str, ...]) -> Evaluation:
    """Return an evaluation that keeps the splits of the same set that the training judged."""
    if not member.is_ready or evaluation.data != member.judged(()).data:
        return evaluation
    return replace(evaluation, splits=tuple(dict.fromkeys([*evaluation.splits, *judge])))


def training(member: Member, kind: str = "train", **other: object) -> Work:
    """Return the training of one run; other: further fields of the work."""
    facts: dict[str, object] = {"label": member.name, "alike": member.variant.name} | other
    return Work(
        kind=kind,
        folder=lambda: member.run.folder,
        is_done=lambda: member.is_finished,
        command=member.command,
        share=lambda: trained(member),
        lacking="not trained to its end",
        **facts,  # type: ignore[arg-type]
    )


def _is_own(member: Member, evaluation: Evaluation) -> bool:
    """True for the place at which the training validated."""
    if not member.is_ready:
        return False
    data, split = (member.facts["recipe"][key] for key in ("data", "val_split"))
    return evaluation.data == data and evaluation.splits == (split,)


def _judging(member: Member, evaluation: Evaluation) -> Work:
    return Work(
        label=f"{member.name} on {evaluation.data}",
        kind=f"evaluate {evaluation.data}",
        alike=member.variant.name,
        folder=lambda: member.run.folder,
        is_done=lambda: member.is_finished and results.is_evaluated(member, evaluation),
        command=lambda: member.evaluation(evaluation),
        after=(member.name,),
        part_of=member.name,
        lacking="not judged",
    )


def state(work: Work) -> tuple[bool, str]:
    """Return whether a work is done, and why that cannot be told: a damaged file, say."""
    try:
        return work.is_done(), ""
    except (DataError, ValueError, OSError) as error:
        return False, " ".join(str(error).split())


def missing(todo: Sequence[Work], failed: Mapping[str, str]) -> Iterator[str]:
    """Yield what is not there, a line each; failed: label -> why.

    A preparation is named where it failed, its dependents always.
    """
    labels = {work.label for work in todo}
    states = {work.label: state(work) for work in todo}
    done = {label for label, (is_done, _) in states.items() if is_done}
    failed = {label: why for label, (_, why) in states.items() if why} | dict(failed)
    for work in todo:
        if work.label in done or (work.part_of and work.part_of not in done):
            continue
        lacks = [label for label in work.after if label in labels - done]
        why = failed.get(work.label) or (f"waits for {', '.join(lacks)}" if lacks else "")
        if work.kind == "train" or work.part_of or work.label in failed:
            yield f"{work.label}: {work.lacking}" + (f" ({why})" if why else "")


def needed(study: Study) -> tuple[Work, ...]:
    """Return the preparations that the study's variants wait for, and those that these wait for."""
    works = {work.label: work for work in study.preparations}
    wanted: set[str] = set()
    asked = [label for variant in study.variants for label in variant.after]
    while asked:
        label = asked.pop()
        if label in works and label not in wanted:
            wanted.add(label)
            asked += works[label].after
    return tuple(work for work in study.preparations if work.label in wanted)
