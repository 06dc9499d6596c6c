"""Data for networks, block by block: a Lightning DataModule whose rows are never all in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from darksieve.datasets.events import Events
from darksieve.datasets.folds import Purpose, purpose_of
from darksieve.errors import InputError
from darksieve.models.block_batches import BUFFER_ROWS, SEGMENT_ROWS, block_batches
from darksieve.models.estimator import balanced_weights
from darksieve.models.feature_blocks import FeatureBlocks

Batch = tuple[Tensor, Tensor, Tensor]  # features (n, n_features), labels (n,), weights (n,); float32


class BlockDataset(IterableDataset[Batch]):
    """Batches of rows, in order or shuffled within a buffer.

    Shuffled as :func:`block_batches` does it. Every row comes once per epoch, and the order depends on the
    seed and the epoch only.

    Args:
        blocks: Features of the rows.
        labels: 0 or 1, shape (n,).
        weights: Shape (n,).
        batch_size: Rows of a batch; the last one may have fewer.
        seed: Of the order; None to keep the rows' own.
        epoch: Number of the epoch that begins.
        buffer_rows: Rows in memory at a time.
        segment_rows: Rows that stay together until they are in the buffer.
    """

    def __init__(
        self,
        blocks: FeatureBlocks,
        labels: NDArray,
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        seed: int | None,
        epoch: Callable[[], int] = lambda: 0,
        buffer_rows: int = BUFFER_ROWS,
        segment_rows: int = SEGMENT_ROWS,
    ) -> None:
        self.blocks = blocks
        self.labels = np.asarray(labels, dtype=np.float32)
        self.weights = np.asarray(weights, dtype=np.float32)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.buffer_rows = buffer_rows
        self.segment_rows = segment_rows

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.blocks) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        rng = None if self.seed is None else np.random.default_rng([self.seed, self.epoch()])
        for X, rows in block_batches(
            self.blocks, self.batch_size, rng, buffer_rows=self.buffer_rows, segment_rows=self.segment_rows
        ):
            labels, weights = self.labels[rows], self.weights[rows]
            yield torch.from_numpy(X), torch.from_numpy(labels), torch.from_numpy(weights)


class BlockDataModule(LightningDataModule):
    """Training, validation and test batches of labelled events, in memory or on disk, for any network.

    Rows without a label (data, wrong pairings) or weight are left out. In each division the two classes have
    equal total weight and the weights a mean of 1.

    Args:
        events: As ``keep_on_disk`` makes them of a reader's chunks where memory cannot hold them.
        features: Columns, finite.
        purpose: ``"training"``, ``"validation"`` or ``"test"`` of each event, shape (n,); by default
            three fifths, a fifth and a fifth, by the hash of the event key.
        batch_size: Rows of a batch.
        seed: Of the order of the training's rows.
        buffer_rows: Rows in memory at a time, within which the training's rows are mixed.

    Raises:
        InputError: If a purpose is not known, or a class has no rows to train on.
    """

    def __init__(
        self,
        events: Events,
        features: Sequence[str],
        *,
        purpose: NDArray[np.str_] | None = None,
        batch_size: int = 4096,
        seed: int = 0,
        buffer_rows: int = BUFFER_ROWS,
    ) -> None:
        super().__init__()
        self.events = events
        self.features = tuple(features)
        self.batch_size = batch_size
        self.seed = seed
        self.buffer_rows = buffer_rows
        purposes = purpose_of(events.key) if purpose is None else np.asarray(purpose)
        unknown = sorted(set(np.unique(purposes)) - {known.value for known in Purpose})
        if unknown or purposes.shape != (len(events),):
            wanted = [known.value for known in Purpose]
            raise InputError(
                f"purposes have shape {purposes.shape} and unknown values {unknown}; use {wanted}"
            )
        label = events.label
        usable = np.isfinite(label) & (events.weight > 0)
        self._rows = {known: np.flatnonzero(usable & (purposes == known.value)) for known in Purpose}
        self._labels = label
        for value, name in ((1, "signal"), (0, "background")):
            if not (label[self._rows[Purpose.TRAINING]] == value).any():
                raise InputError(f"there are no {name} rows with weight to train on")

    def setup(self, stage: str) -> None:
        """Refuse several processes, each of which would be given every row."""
        if self.trainer is not None and self.trainer.world_size > 1:
            raise InputError(
                f"rows in blocks are for one process, and the trainer has {self.trainer.world_size}"
            )

    def dataset(self, purpose: Purpose) -> BlockDataset:
        """The rows of one purpose; those of the training are shuffled anew in each epoch."""
        rows = self._rows[purpose]
        labels = self._labels[rows]
        return BlockDataset(
            FeatureBlocks(self.events, self.features, rows),
            labels,
            balanced_weights(labels, self.events.weight[rows]),
            batch_size=self.batch_size,
            seed=self.seed if purpose is Purpose.TRAINING else None,
            epoch=lambda: 0 if self.trainer is None else self.trainer.current_epoch,
            buffer_rows=self.buffer_rows,
        )

    def train_dataloader(self) -> DataLoader:
        """Batches of the training."""
        return DataLoader(self.dataset(Purpose.TRAINING), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation."""
        return DataLoader(self.dataset(Purpose.VALIDATION), batch_size=None)

    def test_dataloader(self) -> DataLoader:
        """Batches of the test."""
        return DataLoader(self.dataset(Purpose.TEST), batch_size=None)
