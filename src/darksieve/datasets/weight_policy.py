"""The policy for rows of negative weight, applied while a sample is read, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Role
from darksieve.datasets.rows import Rows
from darksieve.datasets.weights import MassWindows, PolicyEffect, rescaling
from darksieve.errors import InputError

NOT_NEGATIVE = "weight not negative"  # step of the cut flow


class WeightPolicy:
    """What is done with negative weights of one sample: an error, kept, dropped, or rescaled.

    It is the last step of the selection, so that its effect can be told for what is selected.

    Args:
        sample: The sample, which names the policy.
        windows: Mass windows in which the effect is summed up; None for the whole sample alone.
    """

    def __init__(self, sample: Sample, windows: MassWindows | None) -> None:
        self.sample = sample
        self.windows = windows
        self._begin()

    def _begin(self) -> None:
        self._n_rows, self._n_negative = 0, 0
        self._sums = np.zeros(2)  # before and after
        self._in_windows = np.zeros((2, 0 if self.windows is None else self.windows.n))

    @property
    def rescales(self) -> bool:
        """Whether weights are multiplied by a factor that only the whole sample knows."""
        return self.sample.negative_weights == "rescale" and self.sample.weight is not None

    @property
    def effect(self) -> PolicyEffect:
        """What it did so far."""
        return PolicyEffect(
            policy=self.sample.negative_weights,
            n_rows=self._n_rows,
            n_negative=self._n_negative,
            sum_before=float(self._sums[0]),
            sum_after=float(self._sums[1]),
            edges=() if self.windows is None else self.windows.edges,
            before=tuple(self._in_windows[0].tolist()),
            after=tuple(self._in_windows[1].tolist()),
        )

    def refuse(self, place: str, rows: Rows) -> None:
        """Refuse rows of negative weight, where nothing is said of them.

        Raises:
            InputError: If there are any.
        """
        if self.sample.negative_weights != "error" or self.sample.weight is None:
            return
        negative = rows.weight < 0
        if negative.any():
            raise InputError(
                f"{place}: {int(negative.sum())} of {len(rows)} rows have a negative weight (branch "
                f"{self.sample.weight!r}), the first in entry {rows.entry[negative][0]}; "
                "say what to do with them: negative_weights: keep, drop or rescale"
            )

    def scale(self, passes: Callable[[], Iterable[tuple[Path, Rows]]]) -> float:
        """Factor on |w| that keeps the sample's total weight, from a pass over its rows.

        Returns:
            The factor; 1 for the other policies.

        Raises:
            InputError: If the total is not above zero.
        """
        if not self.rescales:
            return 1.0
        sums = np.zeros(2)
        for _, rows in passes():
            sums += (rows.weight.sum(), np.abs(rows.weight).sum())
        return rescaling(sums[0], sums[1], f"sample {self.sample.name}")

    def rescale(self) -> float:
        """The same factor after all rows were given with a scale of 1, noted in the effect."""
        if not self.rescales:
            return 1.0
        factor = rescaling(self._sums[0], self._sums[1], f"sample {self.sample.name}")
        self._sums[1] *= factor
        self._in_windows[1] *= factor
        return factor

    def applied(
        self,
        passes: Iterable[tuple[Path, Rows]],
        count: Callable[[str, int, int], None],
        scale: float = 1.0,
    ) -> Iterator[tuple[Path, Rows]]:
        """The same rows after the policy.

        Args:
            passes: Rows with their files.
            count: Counts rows before and after a step of the cut flow.
            scale: Factor on |w| of a sample that is rescaled.
        """
        self._begin()
        drops = self.sample.negative_weights == "drop"
        for path, rows in passes:
            before, n_negative = rows.weight, 0
            if self.sample.weight is not None:
                negative = before < 0
                n_negative = int(np.count_nonzero(negative))
                if self.rescales:
                    rows.weight = np.abs(before) * scale
                self._add(before, np.where(negative, 0.0, before) if drops else rows.weight, rows)
            self._n_rows += len(rows)
            self._n_negative += n_negative
            if drops:
                count(NOT_NEGATIVE, len(rows), len(rows) - n_negative)
            yield path, rows.take(np.flatnonzero(~negative)) if drops and n_negative else rows

    def _add(self, before: NDArray, after: NDArray, rows: Rows) -> None:
        self._sums += (before.sum(), after.sum())
        if self.windows is None:
            return
        is_signal = self.sample.role is Role.SIGNAL
        mass = rows.mass if is_signal else rows.columns.get(self.windows.column)
        if mass is not None:
            self._in_windows += [self.windows.sums(mass, weight) for weight in (before, after)]
