"""Cut flow: how many rows each step of the reading left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """One step: what it was, rows before it and after it."""

    name: str
    n_before: int
    n_after: int


@dataclass(frozen=True)
class CutFlow:
    """The steps that one sample went through, in order; rows are candidates once candidates are built."""

    sample: str
    cuts: tuple[Cut, ...]

    @property
    def n_left(self) -> int:
        """Rows after the last step."""
        return self.cuts[-1].n_after if self.cuts else 0

    def __add__(self, other: CutFlow) -> CutFlow:
        """The flow of two parts of one sample.

        Raises:
            ValueError: If the steps differ.
        """
        if self.sample != other.sample or [c.name for c in self.cuts] != [c.name for c in other.cuts]:
            raise ValueError(f"cut flows of {self.sample!r} and {other.sample!r} have different steps")
        pairs = zip(self.cuts, other.cuts, strict=True)
        return CutFlow(
            self.sample,
            tuple(Cut(a.name, a.n_before + b.n_before, a.n_after + b.n_after) for a, b in pairs),
        )

    def __str__(self) -> str:
        width = max([len(cut.name) for cut in self.cuts], default=0)
        lines = [f"  {cut.name:<{width}}  {cut.n_before:>12} -> {cut.n_after:>12}" for cut in self.cuts]
        return "\n".join([f"cut flow of {self.sample}:", *lines])


class CutCounter:
    """Counts while a sample is read, chunk by chunk."""

    def __init__(self, sample: str, names: Iterable[str]) -> None:
        self._sample = sample
        self._counts = {name: [0, 0] for name in names}

    def count(self, name: str, n_before: int, n_after: int) -> None:
        """Add the rows of one chunk to a step."""
        self._counts[name][0] += n_before
        self._counts[name][1] += n_after

    @property
    def cut_flow(self) -> CutFlow:
        """The flow as far as it was counted."""
        return CutFlow(self._sample, tuple(Cut(name, *counts) for name, counts in self._counts.items()))
