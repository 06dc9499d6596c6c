"""Rows of a network's fit: tensors in memory, or made block by block as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darksieve.models.block_batches import BUFFER_ROWS, SEGMENT_ROWS, block_batches
from darksieve.models.feature_blocks import FeatureBlocks


class RowSource(Protocol):
    """Where a fit takes its rows from."""

    @property
    def n_rows(self) -> int:
        """How many there are."""

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Shuffled batches and which rows they are; the order depends on seed and epoch alone."""

    def parts(self, n_rows: int) -> Iterator[Rows]:
        """All rows in their order, so many at a time."""

    def update(self, sha: Any) -> None:
        """Add everything that a fit depends on to a hash."""


class Rows(NamedTuple):
    """Rows of a fit or of a batch of it, in memory.

    Attributes:
        inputs: What the network takes, shape (n, n_inputs).
        labels: Zeros and ones, shape (n,).
        weights: Of mean 1, shape (n,).
        beside: What only the loss sees, the candidate's own mass first, shape (n, k); k may be 0.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor
    beside: Tensor

    @property
    def n_rows(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> Rows:
        """Some of them."""
        if isinstance(rows, slice):
            return Rows(*(column[rows] for column in self))
        return Rows(*(column.index_select(0, rows) for column in self))

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        key = hashlib.sha256(f"{seed}:{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "little"))
        for rows in torch.randperm(self.n_rows, generator=generator).split(size):
            yield self.take(rows), rows

    def parts(self, n_rows: int) -> Iterator[Rows]:
        for start in range(0, self.n_rows, n_rows):
            yield self.take(slice(start, start + n_rows))

    def update(self, sha: Any) -> None:
        for tensor in self:
            sha.update(tensor.contiguous().numpy().tobytes())


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Rows of feature blocks, shuffled within a buffer of ``BUFFER_ROWS``.

    Attributes:
        network: Makes inputs of features; standardised by the time that rows are asked for.
        blocks: The features.
        labels: Zeros and ones, shape (n,).
        weights: Of mean 1, shape (n,).
        mass: Position of the candidate's own mass among the features; None where it is not known.
    """

    network: Any
    blocks: FeatureBlocks
    labels: NDArray
    weights: NDArray[np.float32]
    mass: int | None

    @property
    def n_rows(self) -> int:
        return len(self.blocks)

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        for X, rows in block_batches(self.blocks, size, np.random.default_rng([seed, epoch])):
            yield self._rows(X, rows), torch.from_numpy(rows)

    def parts(self, n_rows: int) -> Iterator[Rows]:
        for start in range(0, self.n_rows, n_rows):
            part = slice(start, start + n_rows)
            yield self._rows(self.blocks.block(part), part)

    def update(self, sha: Any) -> None:
        sha.update(f"{self.blocks.digest()} {BUFFER_ROWS} {SEGMENT_ROWS}".encode())
        for values in (self.labels, self.weights):
            sha.update(np.ascontiguousarray(values).data)

    def _rows(self, X: NDArray, rows: NDArray | slice) -> Rows:
        return rows_of(self.network, X, self.labels[rows], self.weights[rows], mass=self.mass)


def rows_of(
    network: Any,
    X: NDArray,
    labels: NDArray,
    weights: NDArray,
    *,
    mass: int | None,
    beside: NDArray | None = None,
) -> Rows:
    """Rows of a matrix of features.

    Args:
        network: Makes inputs of features, standardised.
        X: Shape (n, n_features).
        labels, weights: As of :class:`Rows`.
        mass: Position of the candidate's own mass among the features, or None.
        beside: What else only the loss sees, shape (n,) or (n, k).
    """
    parts = [] if mass is None else [np.asarray(X)[:, mass, None]]
    if beside is not None:
        parts.append(np.asarray(beside, dtype=np.float32).reshape(len(X), -1))
    with torch.no_grad():
        inputs = network.prepare(network.inputs(as_tensor(X)))
    of_loss = np.concatenate(parts, axis=1) if parts else np.empty((len(X), 0))
    return Rows(inputs, as_tensor(labels), as_tensor(weights), as_tensor(of_loss))


def as_tensor(values: NDArray) -> Tensor:
    """Numbers as a tensor of float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
