"""The ntuple: measured events as basf2-style branches, and the ROOT file that holds them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.clusters import MERGED, PHOTON, SHAPES, SPLIT_OFF
from darksieve.datasets.simulation.measurement import N_SELECTED, MeasuredEvents

Columns = dict[str, NDArray]

PHOTON_NAMES = ("gamma1", "gamma2", "gamma3")
EXPERIMENT = 1003  # basf2 numbers run-independent simulation so
_ROWS_PER_BASKET = 100_000
_SHAPE_BITS = 12  # mantissa bits kept of cluster variables: 1e-4, far below their spread, and files shrink


def _truth(measured: MeasuredEvents, mothers: tuple[int, ...], mass: NDArray[np.float64]) -> Columns:
    of_photon = np.array([*mothers, 0], dtype=np.int32)  # position -1, no photon, has no mother
    mother = of_photon[measured.photon]
    same_mother = (mother == of_photon[measured.partner]) & (mother != 0)
    pdg = np.select(
        [np.isin(measured.kind, (PHOTON, SPLIT_OFF)), (measured.kind == MERGED) & same_mother],
        [22, mother],
        np.where(measured.kind == MERGED, 22, 0),
    )
    columns: Columns = {}
    for place, name in enumerate(PHOTON_NAMES):
        columns[f"{name}_isSignal"] = (measured.kind[:, place] == PHOTON).astype(np.int32)
        columns[f"{name}_mcPDG"] = pdg[:, place].astype(np.int32)
        columns[f"{name}_genMotherPDG"] = np.where(pdg[:, place] == 22, mother[:, place], 0).astype(np.int32)
        columns[f"{name}_genKind"] = measured.kind[:, place]
    pair = np.full(len(measured.event), -1, dtype=np.int32)
    if len(mothers) == 3 and mothers[1] == mothers[2] != 0:
        from_resonance = (measured.kind == PHOTON) & (measured.photon >= 1)
        places = from_resonance * np.arange(N_SELECTED)  # pairs (0,1), (0,2), (1,2) are numbered 0, 1, 2
        complete = from_resonance.sum(axis=1) == 2
        pair[complete] = places.sum(axis=1)[complete] - 1
    columns["genPair"] = pair
    columns["genM_a"] = mass.astype(np.float32)
    return columns


def ntuple_columns(
    measured: MeasuredEvents,
    *,
    mothers: tuple[int, ...],
    mass: NDArray[np.float64],
    with_truth: bool = True,
) -> Columns:
    """Branches of measured events, all but the event key.

    Args:
        mothers: Particle number of each true photon's mother, 0 for none.
        mass: Generated mass of each measured event's resonance in GeV, NaN for none, shape (n,).
        with_truth: Also the truth branches; pseudo-data has none.

    Returns:
        Branch name -> values of shape (n,), float32 or int32.
    """
    columns: Columns = {}
    shapes = rounded(measured.shapes.astype(np.float32), _SHAPE_BITS)
    for place, name in enumerate(PHOTON_NAMES):
        for component, suffix in enumerate(("px", "py", "pz", "E")):
            columns[f"{name}_{suffix}"] = measured.momenta[:, place, component].astype(np.float32)
        columns[f"{name}_clusterTheta"] = measured.angles[:, place, 0].astype(np.float32)
        columns[f"{name}_clusterPhi"] = measured.angles[:, place, 1].astype(np.float32)
        columns[f"{name}_clusterReg"] = measured.region[:, place]
        for number, variable in enumerate(SHAPES):
            columns[f"{name}_{variable}"] = np.ascontiguousarray(shapes[:, place, number])
    total = measured.momenta.sum(axis=1)
    visible = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1), 0))
    columns["M_ggg"] = visible.astype(np.float32)
    if with_truth:
        columns |= _truth(measured, mothers, mass)
    return columns


def key_columns(event: NDArray[np.uint32], *, run: int, production: int) -> Columns:
    """The branches that identify events, and basf2's sampling weight."""
    n = len(event)
    return {
        "__experiment__": np.full(n, EXPERIMENT, dtype=np.int32),
        "__run__": np.full(n, run, dtype=np.int32),
        "__event__": event.astype(np.uint32),
        "__production__": np.full(n, production, dtype=np.int32),
        "__candidate__": np.zeros(n, dtype=np.int32),
        "__ncandidates__": np.ones(n, dtype=np.int32),
        "__weight__": np.ones(n, dtype=np.float32),
    }


def rounded(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Values with their mantissa rounded to so many bits: they compress better."""
    drop = 23 - bits
    integers = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (integers & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)


class NtupleWriter:
    """Writes a TTree in bounded memory, and hashes what it writes.

    The file appears under its name only when the writer closes without an exception.
    """

    def __init__(self, path: Path, tree: str) -> None:
        self.path = path
        self.n_rows = 0
        self._tree_name = tree
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._pending: list[Columns] = []
        self._n_pending = 0
        self._dtypes: dict[str, np.dtype] = {}
        self._hashes: dict[str, hashlib._Hash] = {}

    def __enter__(self) -> NtupleWriter:
        import uproot

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = uproot.recreate(self._temporary, compression=uproot.ZSTD(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._file.close()
            if kind is not None:
                self._temporary.unlink(missing_ok=True)
        if kind is None:
            os.replace(self._temporary, self.path)

    def write(self, columns: Mapping[str, NDArray]) -> None:
        """Appends rows; the first call fixes the branches."""
        if not self._dtypes:
            self._dtypes = {name: values.dtype for name, values in columns.items()}
            self._hashes = {
                name: hashlib.sha256(f"{name}:{kind.str}".encode()) for name, kind in self._dtypes.items()
            }
            # mktree on purpose: assigning a dict writes an RNTuple since uproot 5.7, which older readers lack
            self._tree = self._file.mktree(self._tree_name, self._dtypes)
        if {name: values.dtype for name, values in columns.items()} != self._dtypes:
            raise ValueError("branches differ from those of the first rows")
        n = len(next(iter(columns.values())))
        if n == 0:
            return
        for name, values in columns.items():
            self._hashes[name].update(np.ascontiguousarray(values).tobytes())
        self._pending.append(dict(columns))
        self._n_pending += n
        self.n_rows += n
        if self._n_pending >= _ROWS_PER_BASKET:
            self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._tree.extend(
                {name: np.concatenate([c[name] for c in self._pending]) for name in self._dtypes}
            )
        self._pending, self._n_pending = [], 0

    @property
    def columns(self) -> list[str]:
        return list(self._dtypes)

    @property
    def sha256(self) -> str:
        """SHA-256 over all columns in the order of their names, whatever the size of the pieces."""
        whole = hashlib.sha256()
        for name in sorted(self._hashes):
            whole.update(self._hashes[name].digest())
        return whole.hexdigest()
