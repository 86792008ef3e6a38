"""How long does an emulated accelerator wait, and what for? Arithmetic only.

Utilisation is MLPerf Storage's: compute time over total time, the first step left out. The split is
DS-Analyzer's (Mohan et al., arXiv 2007.06775): a step takes t1 with a batch that is there already,
t2 with the loader and all files in the page cache, t3 with cold files.
"""

from __future__ import annotations


def utilisation(step_s: float, steps: float, wall_s: float) -> float:
    """Return the share of the time in which the accelerator computes."""
    return step_s * steps / wall_s


def prep_stall(bare_s: float, warm_s: float) -> float:
    """Return the share of a warm step that is waited for decoding and the like: (t2 - t1) / t2."""
    return max(0.0, warm_s - bare_s) / warm_s


def fetch_stall(warm_s: float, cold_s: float) -> float:
    """Return the share of a cold step that is waited for storage: (t3 - t2) / t3."""
    return max(0.0, cold_s - warm_s) / cold_s
