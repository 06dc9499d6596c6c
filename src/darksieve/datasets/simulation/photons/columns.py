"""Measured photon events as basf2-style branches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.ntuple import Columns, key_columns, rounded
from darksieve.datasets.simulation.photons.clusters import MERGED, PHOTON, SHAPES, SPLIT_OFF
from darksieve.datasets.simulation.photons.measurement import MeasuredEvents
from darksieve.datasets.simulation.photons.settings import PhotonSettings

MASS_BRANCH = "genM_a"
PHOTON_NAMES = ("gamma1", "gamma2", "gamma3", "gamma4")  # the fourth only where there may be four
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
    for place, name in enumerate(PHOTON_NAMES[: measured.kind.shape[1]]):
        columns[f"{name}_isSignal"] = (measured.kind[:, place] == PHOTON).astype(np.int32)
        columns[f"{name}_mcPDG"] = pdg[:, place].astype(np.int32)
        columns[f"{name}_genMotherPDG"] = np.where(pdg[:, place] == 22, mother[:, place], 0).astype(np.int32)
        columns[f"{name}_genKind"] = measured.kind[:, place]
    pair = np.full(len(measured.event), -1, dtype=np.int32)
    if len(mothers) == 3 and mothers[1] == mothers[2] != 0:
        from_resonance = (measured.kind == PHOTON) & (measured.photon >= 1)
        complete = from_resonance.sum(axis=1) == 2
        first = from_resonance.argmax(axis=1)
        second = from_resonance.shape[1] - 1 - from_resonance[:, ::-1].argmax(axis=1)
        # pairs (0,1), (0,2), (1,2), (0,3), (1,3), (2,3) are numbered 0 to 5
        pair[complete] = (second * (second - 1) // 2 + first)[complete]
    columns["genPair"] = pair
    columns[MASS_BRANCH] = mass.astype(np.float32)
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
    for place, name in enumerate(PHOTON_NAMES[: measured.kind.shape[1]]):
        for component, suffix in enumerate(("px", "py", "pz", "E")):
            columns[f"{name}_{suffix}"] = measured.momenta[:, place, component].astype(np.float32)
        columns[f"{name}_clusterTheta"] = measured.angles[:, place, 0].astype(np.float32)
        columns[f"{name}_clusterPhi"] = measured.angles[:, place, 1].astype(np.float32)
        columns[f"{name}_clusterReg"] = measured.region[:, place]
        for number, variable in enumerate(SHAPES):
            columns[f"{name}_{variable}"] = np.ascontiguousarray(shapes[:, place, number])
    total = np.nansum(measured.momenta, axis=1)
    visible = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(axis=1), 0))
    columns["M_ggg"] = visible.astype(np.float32)
    if with_truth:
        columns |= _truth(measured, mothers, mass)
    return columns


def no_rows(settings: PhotonSettings) -> Columns:
    """Branches of simulated samples, which the selection's number of clusters decides."""
    return _no_rows(settings, with_truth=True)


def no_rows_of_data(settings: PhotonSettings) -> Columns:
    """Branches of pseudo-data, without truth."""
    return _no_rows(settings, with_truth=False)


def _no_rows(settings: PhotonSettings, *, with_truth: bool) -> Columns:
    keys = key_columns(np.empty(0, np.uint32), run=0, production=0)
    none = MeasuredEvents.none(settings.selection.n_places)
    return keys | ntuple_columns(none, mothers=(), mass=np.empty(0), with_truth=with_truth)
