"""Simulated and kinematically fitted photon candidates for the networks' figures.

e+e- -> γγγ against γa(→γγ). Training events come from the generators as they are. In a window about a mass
the background is made by importance sampling: pairs of a flat mass with the signal's angles, weighted by the
exact |M|², which needs a thousand times fewer events at low mass than waiting for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darksieve.constants import GEV2_TO_FB
from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import (
    AZIMUTH_COLUMNS,
    KINEMATIC_COLUMNS,
    PairingRecipe,
    build_candidates,
    photon_momenta,
)
from darksieve.datasets.kinematic_fit import fit_photons
from darksieve.datasets.simulation.decays import decay_with_photon, photon_and_recoil, uniform_sphere
from darksieve.datasets.simulation.photons.columns import ntuple_columns
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.plans import BackgroundPlan, SignalPlan
from darksieve.datasets.simulation.photons.qed import three_photon_matrix_element
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import ALP_PDG, ThreePhotonSource, pole_cosine
from darksieve.datasets.simulation.plans import MassSpectrum

MASS_RANGE = (0.14, 9.95)  # GeV: beyond the scan, 0.17 to 9.8, by more than its windows
BLOCK = 20_000  # events of one block of the generators
PROPOSALS = 50_000  # of importance sampling, drawn at a time
WANTED = (*KINEMATIC_COLUMNS, *AZIMUTH_COLUMNS)
RECIPE = PairingRecipe(photons=("gamma1", "gamma2", "gamma3"))
_QED, _SIGNAL = 901, 902  # numbers of these samples' streams, used by no other sample
Columns = dict[str, NDArray]


def resolution(mass: float) -> float:
    """Width of the fitted M(γγ) in GeV, between values measured with this toy simulation."""
    masses = [0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 9.5]
    widths = [0.0102, 0.0104, 0.0112, 0.0129, 0.0145, 0.0166, 0.0177, 0.0139]
    return float(np.interp(mass, masses, widths))


def candidates(columns: Columns, beams: Beams, *, signal: bool) -> tuple[Columns, NDArray[np.intp]]:
    """Fitted candidates of measured events and the event of each; of signal the correct pairing alone."""
    fitted = fit_photons(photon_momenta(columns, RECIPE.photons, RECIPE.momentum), beams)
    rows = np.flatnonzero(fitted.converged)
    made = build_candidates(columns, RECIPE, beams, wanted=WANTED, momenta=fitted.momenta[rows])
    event = rows[made.event]
    kept = made.pairing == columns["genPair"][event] if signal else np.ones(len(event), dtype=bool)
    return {name: values[kept] for name, values in made.columns.items()}, event[kept]


def joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def qed_candidates(settings: PhotonSettings, seed: int) -> Iterator[Columns]:
    """Candidates of three-photon events, block by block, without end."""
    source = ThreePhotonSource(settings.beams.sqrt_s, *settings.generator_cuts)
    while True:
        plan = BackgroundPlan(source, _QED, settings, seed, BLOCK)
        yield candidates(plan.make(0).columns, settings.beams, signal=False)[0]
        seed += 1


def signal_candidates(
    settings: PhotonSettings,
    seed: int,
    *,
    mass_range: tuple[float, float] | None = None,
    masses: tuple[float, ...] = (),
) -> Iterator[Columns]:
    """Correctly paired candidates flat in a range or at given masses alike, block by block, without end."""
    each = tuple((mass, BLOCK // len(masses)) for mass in masses)
    spectrum = MassSpectrum(each, mass_range)
    while True:
        plan = SignalPlan(_SIGNAL, settings, seed, spectrum.n_events or BLOCK, spectrum)
        yield candidates(plan.make(0).columns, settings.beams, signal=True)[0]
        seed += 1


def collect(blocks: Iterator[Columns], n: int, select: Callable[[Columns], NDArray]) -> Columns:
    """The first n candidates that pass."""
    parts, total = [], 0
    while total < n:
        columns = next(blocks)
        rows = select(columns)
        parts.append({name: values[rows] for name, values in columns.items()})
        total += len(parts[-1]["M_gg"])
    return {name: values[:n] for name, values in joined(parts).items()}


def in_range(columns: Columns) -> NDArray[np.bool_]:
    return (columns["M_gg"] > MASS_RANGE[0]) & (columns["M_gg"] < MASS_RANGE[1])


@dataclass(frozen=True, eq=False)
class Window:
    """Candidates near a mass.

    Attributes:
        background: Columns of QED candidates.
        weight: What each stands for, in fb.
        signal: Columns of signal candidates generated at the mass.
    """

    mass: float
    background: Columns
    weight: NDArray[np.float64]
    signal: Columns

    @property
    def n_effective(self) -> float:
        """Effective number of background candidates."""
        return float(self.weight.sum() ** 2 / (self.weight**2).sum())


def window(
    settings: PhotonSettings,
    mass: float,
    *,
    n_background: int,
    n_signal: int,
    seed: int,
    n_sigma: float = 3.0,
) -> Window:
    """At least so many effective background candidates, and so many of signal, within ± n_sigma of a mass."""
    half_width = n_sigma * resolution(mass)

    def inside(columns: Columns) -> NDArray[np.bool_]:
        return np.abs(columns["M_gg"] - mass) < half_width

    signal = collect(signal_candidates(settings, seed, masses=(mass,)), n_signal, inside)
    parts: list[Columns] = []
    weights: list[NDArray] = []
    rng = np.random.default_rng([seed, 17])
    while True:
        columns, weight = weighted_pairs(settings, mass, half_width + 8 * resolution(mass), rng)
        rows = inside(columns)
        parts.append({name: values[rows] for name, values in columns.items()})
        weights.append(weight[rows])
        w = np.concatenate(weights)
        if w.sum() ** 2 / (w**2).sum() >= n_background:
            return Window(mass, joined(parts), w / (len(weights) * PROPOSALS), signal)


def weighted_pairs(
    settings: PhotonSettings,
    mass: float,
    reach: float,
    rng: np.random.Generator,
    keep: Callable[[NDArray, NDArray], NDArray] | None = None,
) -> tuple[Columns, NDArray[np.float64]]:
    """Measured and fitted pairs of QED photons within a reach of a mass; weights whose mean is in fb.

    Args:
        keep: Probability to go on with a pair of true ln(likelihood ratio) and mass, both of shape (n,); the
            weights of those that are kept make up for it.

    Three photons are alike (1/3!), and each of the three pairs of an event is a candidate, so pairs of the
    phase-space density are drawn, dΦ₃ = dm²/2π · (1 - m²/s)/8π · dΩ/4π · 1/8π · dΩ'/4π, and weighted by |M|².
    """
    sqrt_s = settings.beams.sqrt_s
    min_energy, low, high = settings.generator_cuts
    pole = 0.99  # the recoil's cosine is drawn where detectors see it, by 1/(1 - c²)
    lightest, heaviest = max(mass - reach, 0.02), min(mass + reach, sqrt_s - 0.02)
    masses = rng.uniform(lightest, heaviest, PROPOSALS)
    poles = np.arctanh(min(high, pole)) - np.arctanh(max(low, -pole))
    cosine = pole_cosine(rng, PROPOSALS, max(low, -pole), min(high, pole))
    recoil, pair = photon_and_recoil(sqrt_s, masses, cosine, rng.uniform(-np.pi, np.pi, PROPOSALS))
    first, second = decay_with_photon(pair, masses, 0.0, *uniform_sphere(rng, PROPOSALS))
    photons = np.stack([recoil, first, second], axis=1)  # (n, 3, 4)
    cosines = photons[..., 2] / photons[..., 3]
    seen = ((photons[..., 3] > min_energy) & (cosines > low) & (cosines < high)).all(axis=1)
    photons, masses, cosine = photons[seen], masses[seen], cosine[seen]
    matrix_element = three_photon_matrix_element(photons, sqrt_s)
    density = 2 * masses * (heaviest - lightest) / (2 * np.pi) * (1 - cosine**2) * poles / 2
    density *= (1 - (masses / sqrt_s) ** 2) / (8 * np.pi) ** 2
    weight = GEV2_TO_FB * 0.5 * matrix_element * density / (2 * sqrt_s**2)
    if keep is not None:
        probability = keep(np.log1p(cosine**2) - np.log(matrix_element), masses)
        kept = rng.random(len(weight)) < probability
        photons, masses, weight = photons[kept], masses[kept], (weight / probability)[kept]
    measured = measure(
        rng, photons, beams=settings.beams, detector=settings.detector, selection=settings.selection
    )
    columns = ntuple_columns(measured, mothers=(0, ALP_PDG, ALP_PDG), mass=masses[measured.event])
    made, event = candidates(columns, settings.beams, signal=True)
    return made, weight[measured.event[event]]
