"""Run one contestant of the photographs' benchmark in a process of its own, for test_bench_peers.

python tests/bench_peer.py ROOT JOB: prints what the check saw and the labels of one epoch.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOM = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOM), str(ROOM / "bench")]
BATCH, SIZE, COUNT = 20, 64, 160


def prepared(root: Path, variant: str) -> Any:
    """Return the work: photographs in classes whose order by number is not that by name."""
    from photos import check, corpus, sets
    from photos.work import Work

    made = corpus.photographs(root, replace(corpus.QUICK, count=COUNT))
    files = root / "renamed"
    if not files.exists():
        (files / corpus.SPLIT).mkdir(parents=True)
        for k, folder in enumerate(sorted((made / corpus.SPLIT).iterdir())):
            (files / corpus.SPLIT / f"{k}").symlink_to(folder, target_is_directory=True)
    return Work(
        root=str(root),
        data=str(sets.built(root, files, variant)),
        files=str(files),
        own=str(files),
        reference=str(check.reference(root, files, SIZE, variant == "whole")),
        variant=variant,
        size=SIZE,
        batch=BATCH,
        threads=1,
    )


def draw(root: Path, variant: str, name: str, setting: dict[str, int]) -> dict[str, Any]:
    """Return what the check saw of one epoch, and its labels."""
    import workload
    from photos import check, sets

    work = prepared(root, variant)
    names = {one: text for text, (package, one) in workload.NAMES.items() if package == "photos"}
    contestant = workload.load(names[variant]).contestants[name]
    for form in contestant.forms:
        sets.peer_files(work, form)
        peer = sys.modules[sets.FORMS[form][0]]
        peer.TIMES = type(peer.TIMES)(1)  # an epoch is an epoch
    steps = COUNT // BATCH
    look, labels = check.Check(work.reference, BATCH, SIZE, look_at=steps), []
    with closing(contestant.start(work, setting)) as batches:
        for _ in range(steps):
            batch = next(batches)
            look(batch)
            labels += batch[1].tolist()
    return {"seen": look.result(), "labels": labels}


if __name__ == "__main__":
    folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
    if job:
        print(json.dumps(draw(folder, **job)))
    else:
        for variant in ("native", "raw", "whole"):
            prepared(folder, variant)
