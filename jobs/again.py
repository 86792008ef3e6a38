"""The command that makes a study again, in another folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from jobs import settings
from jobs.plan import Plan
from jobs.study import Evaluation, Execution, Variant


def command(
    plan: Plan,
    execution: Execution,
    variants: Sequence[Variant] | None,
    evaluations: Sequence[Evaluation] | None,
) -> str:
    """Return it as typed; variants, evaluations: None where nobody named any."""
    seeds = ",".join(map(str, plan.seeds))
    parts = ["python", "-m", "jobs", "study", plan.study, *_options(plan), "--seeds", seeds]
    if variants is not None:
        parts += ["--variants", ",".join(variant.name for variant in variants)]
    for key, value in execution.overrides.items():
        parts += ["--set", f"{key}={value}"]
    for one in evaluations or ():
        parts += ["--evaluate", f"{one.data}:{','.join(one.splits)}"]
    parts += ["--nproc", str(execution.ranks), *execution.rooted()]
    return shlex.join([*parts, *settings.launch_arguments(execution.launch)])


def _options(plan: Plan) -> list[str]:
    """Return the study's own options as arguments."""
    found = []
    for key, value in plan.options.items():
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else f"--no-{flag[2:]}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            found += [flag, text]
    return found
