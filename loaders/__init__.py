"""Built set → batches: `for batch in Loader(Dataset("sample"), …)`."""

from loaders.batch import Batch, Points
from loaders.dataset import Dataset
from loaders.loader import Loader
from loaders.world import World

__all__ = ["Batch", "Dataset", "Loader", "Points", "World"]
