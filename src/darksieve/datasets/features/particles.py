"""Particles: the particles of many candidates as flat arrays, the n-th candidate's between two offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darksieve.datasets.beams import Beams
from darksieve.errors import InputError


@dataclass(frozen=True, eq=False)
class Particles:
    """Four-momenta and charges of the particles of n candidates.

    Attributes:
        momenta: px, py, pz, E in GeV, shape (n_particles, 4), float64.
        charge: In units of the positron's, shape (n_particles,), float64.
        offsets: Particles of candidate c are those from ``offsets[c]`` up to, not including,
            ``offsets[c + 1]``; shape (n_candidates + 1,), int64.

    Raises:
        InputError: If shapes do not fit, a value is not finite, or the offsets do not rise from 0 to the
            number of particles.
    """

    momenta: NDArray[np.float64]
    charge: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        momenta = np.ascontiguousarray(self.momenta, dtype=np.float64)
        charge = np.ascontiguousarray(self.charge, dtype=np.float64)
        given = np.asarray(self.offsets)
        if momenta.ndim != 2 or momenta.shape[1] != 4:
            raise InputError(f"momenta have shape {momenta.shape}; it is (n_particles, 4): px, py, pz, E")
        if charge.shape != (len(momenta),):
            raise InputError(f"charges have shape {charge.shape}; with these momenta it is ({len(momenta)},)")
        if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
            raise InputError(
                f"offsets have shape {given.shape} and type {given.dtype}; "
                "they are whole numbers of shape (n_candidates + 1,)"
            )
        offsets = np.ascontiguousarray(given, dtype=np.int64)
        if offsets[0] != 0 or offsets[-1] != len(momenta) or (np.diff(offsets) < 0).any():
            raise InputError(
                f"offsets go from {offsets[0]} to {offsets[-1]}; they rise from 0 to the number of "
                f"particles, {len(momenta)}"
            )
        for name, values in (("momenta", momenta), ("charges", charge)):
            finite = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
            if not finite.all():
                raise InputError(
                    f"{name} of {int((~finite).sum())} of {len(values)} particles are not finite, "
                    f"the first in position {int(np.argmin(finite))}"
                )
        object.__setattr__(self, "momenta", momenta)
        object.__setattr__(self, "charge", charge)
        object.__setattr__(self, "offsets", offsets)

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.offsets) - 1

    @classmethod
    def from_jagged(
        cls, branches: Mapping[str, Any], charge: str, momentum: tuple[str, str, str, str]
    ) -> Particles:
        """Particles from jagged branches, as uproot reads them (``library="ak"``) or as lists of lists.

        Args:
            branches: Branch name -> one list per candidate.
            charge: Name of the branch of charges.
            momentum: Names of the branches px, py, pz and E.

        Raises:
            InputError: If a branch is absent, holds no lists, or its lists have other lengths.
        """
        import awkward as ak

        flat: list[NDArray] = []
        counts: NDArray | None = None
        for name in (*momentum, charge):
            if name not in branches:
                raise InputError(f"there is no branch {name!r}; there are {sorted(branches)}")
            array = ak.Array(branches[name])
            if array.ndim != 2:
                raise InputError(
                    f"branch {name!r} has {array.ndim} dimensions; one list per candidate is needed"
                )
            own = ak.to_numpy(ak.num(array, axis=1))
            if counts is None:
                counts = own
            elif not np.array_equal(counts, own):
                raise InputError(
                    f"the lists of branch {name!r} have other lengths than those of {momentum[0]!r}"
                )
            flat.append(ak.to_numpy(ak.flatten(array, axis=1)).astype(np.float64))
        assert counts is not None
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(np.stack(flat[:4], axis=1), flat[4], offsets)

    @classmethod
    def from_lists(cls, candidates: list[tuple[ArrayLike, ArrayLike]]) -> Particles:
        """Particles of candidates given one by one: (momenta of shape (n, 4), charges of shape (n,)) each."""
        momenta = [np.asarray(p, dtype=np.float64).reshape(-1, 4) for p, _ in candidates]
        charges = [np.asarray(q, dtype=np.float64).reshape(-1) for _, q in candidates]
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in momenta])]).astype(np.int64)
        return cls(np.concatenate([np.empty((0, 4)), *momenta]), np.concatenate([[], *charges]), offsets)

    def in_cms(self, beams: Beams) -> Particles:
        """Laboratory momenta taken to the centre-of-mass system."""
        return Particles(beams.to_cms(self.momenta), self.charge, self.offsets)
