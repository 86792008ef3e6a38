"""The class that DLIO loads: a contestant of bench/ as a data loader of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlio_benchmark.common.enumerations import DataLoaderType  # type: ignore[import-not-found]
from dlio_benchmark.data_loader.base_data_loader import (  # type: ignore[import-not-found]
    BaseDataLoader,
)
from ranks import Share

from dlio import JOB


class Contestant(BaseDataLoader):  # type: ignore[misc]
    """Yields the batches of the contestant that the job in the data folder names."""

    def __init__(self, form: Any, dataset: Any, epoch: int) -> None:
        super().__init__(form, dataset, epoch, DataLoaderType.PYTORCH)
        share = Share(**json.loads((Path(self._args.data_folder) / JOB).read_text()))
        self.batches = share(self._args.my_rank, self._args.comm_size)

    def read(self) -> None:
        """Prepare nothing: a contestant starts with its first batch."""

    def next(self) -> Iterator[Any]:
        """Yield batches without end; DLIO stops after its steps."""
        yield from self.batches

    def finalize(self) -> None:
        """Stop the contestant."""
        self.batches.close()
