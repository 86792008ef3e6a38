"""The work of bench/loader.py --work w2."""

from __future__ import annotations

from dataclasses import dataclass

import workload


@dataclass(frozen=True, kw_only=True)
class Work(workload.Work):
    """Aligned random crops of `patch` (LR) and `patch` × `scale` (HR) pixels, turned eight ways."""

    scale: int = 4
    patch: int = 64
    batch: int = 16

    @property
    def fields(self) -> tuple[str, str]:
        """Names of LR and HR in the set."""
        return f"lr_x{self.scale}", "hr"
