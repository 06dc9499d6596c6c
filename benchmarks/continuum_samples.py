"""Simulated B+ → K+ a(→γγ) and continuum for the figures of the continuum BDT, kept in the cache.

Half an hour of simulation on two quiet cores the first time. Several productions stand for one sample, so
that an interrupted one loses a part only.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from darksieve.datasets.cache import Cache, default_folder
from darksieve.datasets.kept_files import fetch_files, keep_files, simulation_key
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.production import simulate

SIGNAL_EVENTS = 110_000
MASS_RANGE = (0.2, 4.6)  # GeV
K_PLUS = 0  # in the branch mode
GLOBAL = (
    "foxWolframR1",
    "R2",
    "foxWolframR3",
    "foxWolframR4",
    "thrustBm",
    "thrustOm",
    "cosTBTO",
    "cosTBz",
    "cosTheta_B",
    "sphericity",
    "aplanarity",
)
_WORKERS = 2
_PRODUCTION = 2**33  # first event number of the second production, twice that of the third, …


@dataclass(frozen=True)
class Selection:
    """What is simulated of continuum, and what passes as a candidate.

    Attributes:
        name: In words, for the figures.
        min_mbc, max_abs_delta_e: GeV, of candidates; None for the preselection of the presets.
        n_productions: Of continuum.
        candidates_each: In one of them: K+ and a few K_S, with the K* window shut.
    """

    name: str
    min_mbc: float | None
    max_abs_delta_e: float | None
    n_productions: int
    candidates_each: int

    @property
    def settings(self) -> dict[str, dict[str, float]]:
        """Settings of the simulation that differ from its defaults."""
        window = {"min_mbc": self.min_mbc, "max_abs_delta_e": self.max_abs_delta_e}
        own = {name: value for name, value in window.items() if value is not None}
        return {"preselection": {"kstar_half_width": 0.0, **own}}


LOOSE = Selection("Mbc > 5.15 GeV, |ΔE| < 0.5 GeV", 5.15, 0.5, 3, 34_000)
PRESET = Selection("Mbc > 5.20 GeV, |ΔE| < 0.3 GeV", None, None, 4, 28_000)


@dataclass(frozen=True)
class Candidates:
    """Candidates of signal and continuum with nothing but event shapes as features.

    Attributes:
        x: Event shapes, shape (n, n_features), float32.
        features: Their names.
        label: 1 for signal, 0 for continuum, shape (n,).
        event: Number of the event, unique over all samples, shape (n,).
        tuning: Candidates kept for comparing options of the BDT, shape (n,): a sixth of the signal and of
            the first production of continuum.
        others: Mbc, deltaE, M_gg and M_gg_fit in GeV, shape (n,) each.
    """

    x: NDArray[np.float32]
    features: tuple[str, ...]
    label: NDArray[np.int64]
    event: NDArray[np.int64]
    tuning: NDArray[np.bool_]
    others: dict[str, NDArray[np.float64]]

    @property
    def in_signal_region(self) -> NDArray[np.bool_]:
        """Mbc > 5.27 GeV and \\|ΔE\\| < 0.2 GeV, shape (n,)."""
        return (self.others["Mbc"] > 5.27) & (np.abs(self.others["deltaE"]) < 0.2)


def kept_sample(process: str, path: Path, changed: dict[str, dict[str, float]], **size: Any) -> None:
    """Simulate a sample into ``path`` with some settings changed, or take it from the cache."""
    folder = default_folder()
    cache = None if folder is None else Cache(folder)
    written = (path, path.with_suffix(".json"))
    key = simulation_key(process, {"benchmark": changed, "size": {k: str(v) for k, v in size.items()}})
    if cache is not None and fetch_files(cache, key, written):
        return
    settings = BFactorySettings.from_mapping(changed, "settings")
    simulate(process, path, workers=_WORKERS, settings=settings, **size)
    if cache is not None:
        keep_files(cache, key, f"benchmark: {process}, {size}", written)


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, NDArray]:
    with uproot.open(path) as file:
        columns: dict[str, NDArray] = file["ntuple"].arrays(list(names), library="np")
    return columns


def event_shape_branches(path: Path) -> tuple[str, ...]:
    """Global shapes, KSFW moments and CLEO cones of a file, in its order."""
    with uproot.open(path) as file:
        names = file["ntuple"].keys()
    return tuple(n for n in names if n in GLOBAL or n.startswith(("KSFWVariables", "CleoConeCS")))


def continuum_candidates(selection: Selection) -> Candidates:
    """Candidates of B+ → K+ a and of continuum that look like it, simulated or from the cache."""
    changed = selection.settings
    others = ("Mbc", "deltaE", "M_gg", "M_gg_fit")
    parts: list[dict[str, NDArray]] = []
    labels: list[NDArray] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.root"
        kept_sample("b_to_kplus_alp", path, changed, n_events=SIGNAL_EVENTS, mass_range=MASS_RANGE, seed=1)
        features = event_shape_branches(path)
        wanted = (*features, *others, "mode", "isSignal", "__event__")
        for production in range(selection.n_productions + 1):
            if production:
                size = selection.candidates_each
                kept_sample("continuum", path, changed, n_candidates=size, seed=production)
            columns = _columns(path, wanted)
            kept = columns["mode"] == K_PLUS
            if not production:
                kept &= columns["isSignal"] == 1
            columns["__event__"] = columns["__event__"].astype(np.int64) + production * _PRODUCTION
            parts.append({name: values[kept] for name, values in columns.items()})
            labels.append(np.full(int(kept.sum()), int(production == 0)))
    joined: dict[str, NDArray] = {name: np.concatenate([part[name] for part in parts]) for name in wanted}
    event = joined["__event__"]
    part = (event * 2_654_435_761 >> 16) % 6
    return Candidates(
        x=np.column_stack([joined[name] for name in features]).astype(np.float32),
        features=features,
        label=np.concatenate(labels),
        event=event,
        tuning=(part == 3) & (event < 2 * _PRODUCTION),
        others={name: joined[name].astype(np.float64) for name in others},
    )


if __name__ == "__main__":
    for chosen in (LOOSE, PRESET):
        found = continuum_candidates(chosen)
        print(
            chosen.name, len(found.label), int(np.sum(found.label == 0)), int(np.sum(found.in_signal_region))
        )
