"""What the uncertainty of a correction does to yields: sizes of nuisances that are shared by all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.corrections import OUTSIDE, CorrectionTable, EigenVariations

NEAREST = 4000  # candidates of flat signal around a hypothesis: a share of them is known to 0.008 or better
MASSES_ARE_DISCRETE = 20  # candidates per mass, on average, from which they are

Sizes = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Correction:
    """A correction that was applied, with the variations of its table.

    Attributes:
        name: Of its nuisances: ``name_1``, ``name_2`` …, and ``name_rest`` for what they leave out.
        table: Its factors.
        variations: Of the table.
    """

    name: str
    table: CorrectionTable
    variations: EigenVariations

    def sizes(self, usage: NDArray[np.float64]) -> Sizes:
        """Nuisance -> relative change of yields for one standard deviation, shape (n_yields,).

        Args:
            usage: How often each yield uses each bin, shape (n_yields, n_bins).
        """
        changes, rest = self.variations.relative_changes(usage, self.table.values)
        sizes = {f"{self.name}_{k + 1}": changes[:, k] for k in range(changes.shape[1])}
        return sizes | ({f"{self.name}_rest": rest} if self.variations.rest.any() else {})


def usage(weight: NDArray, bins: NDArray[np.int32], n_bins: int) -> NDArray[np.float64]:
    """How often the candidates of a yield use each bin on average, weighted, shape (n_bins,).

    Args:
        weight: Shape (n,).
        bins: Of each object of a candidate, shape (n, n_objects); ``OUTSIDE`` where the table says nothing.
        n_bins: Of the table.
    """
    total = float(weight.sum())
    if not total > 0:
        return np.zeros(n_bins)
    used = bins != OUTSIDE
    weights = np.broadcast_to(weight[:, None], bins.shape)
    return np.bincount(bins[used], weights[used], n_bins) / total


def usage_at(
    masses: ArrayLike, mass: NDArray, weight: NDArray, bins: NDArray[np.int32], n_bins: int
) -> NDArray[np.float64]:
    """The same for signal at mass hypotheses, shape (n_masses, n_bins).

    Signal at discrete masses is interpolated linearly between them; of flat signal the ``NEAREST`` candidates
    around each hypothesis count.

    Args:
        masses: Hypotheses in GeV, shape (n_masses,).
        mass: Generated, shape (n,).
        weight: Shape (n,).
        bins: Shape (n, n_objects).
        n_bins: Of the table.
    """
    masses = np.atleast_1d(np.asarray(masses, float))
    generated = np.unique(mass)
    if len(mass) > MASSES_ARE_DISCRETE * len(generated):
        known = np.stack([usage(weight[mass == m], bins[mass == m], n_bins) for m in generated])
        return np.stack([np.interp(masses, generated, of_bin) for of_bin in known.T], axis=1)
    order = np.argsort(mass, kind="stable")
    in_order = mass[order]
    found = np.empty((len(masses), n_bins))
    for i, m in enumerate(masses):
        middle = int(np.searchsorted(in_order, m))
        first = min(max(middle - NEAREST // 2, 0), max(len(order) - NEAREST, 0))
        near = order[first : first + NEAREST]
        found[i] = usage(weight[near], bins[near], n_bins)
    return found


def signal_sizes(
    corrections: Sequence[Correction],
    mass: NDArray,
    weight: NDArray,
    bins: Mapping[str, NDArray[np.int32]],
) -> Callable[[ArrayLike], Sizes]:
    """Sizes of all nuisances as a function of the mass hypotheses, from the signal of one channel."""

    def at(masses: ArrayLike) -> Sizes:
        sizes: dict[str, NDArray[np.float64]] = {}
        for correction in corrections:
            n_bins = len(correction.table.values)
            sizes |= correction.sizes(usage_at(masses, mass, weight, bins[correction.name], n_bins))
        return sizes

    return at


def yield_sizes(
    corrections: Sequence[Correction], weight: NDArray, bins: Mapping[str, NDArray[np.int32]]
) -> dict[str, float]:
    """Sizes of all nuisances for one yield, as of a peaking background."""
    sizes: dict[str, float] = {}
    for correction in corrections:
        used = usage(weight, bins[correction.name], len(correction.table.values))
        sizes |= {name: float(size[0]) for name, size in correction.sizes(used[None]).items()}
    return sizes
