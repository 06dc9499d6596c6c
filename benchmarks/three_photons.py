"""e+e- -> γγγ at leading order, where the exact likelihood ratio is known: scores and their worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator, three_photon_matrix_element
from darksieve.datasets.simulation.photons.sources import photon_with_resonance
from darksieve.evaluation.boundaries import Boundaries
from darksieve.evaluation.choosing import Chooser
from darksieve.evaluation.rotation import Choice


@dataclass(frozen=True, eq=False)
class ToyScores:
    """Scored candidates whose score is the exact likelihood ratio of their toy."""

    key: NDArray
    label: NDArray
    weight: NDArray
    mass: NDArray
    observable: NDArray
    score: NDArray


@dataclass(frozen=True)
class ThreePhotons:
    """e+e- -> γγγ at leading order against γa, exact likelihood ratio as the score, toy mass resolution.

    Signal and background masses are smeared alike.

    Attributes:
        conditioned: Whether the ratio is that of densities at the pair's own mass, as a classifier gives that
            is conditioned on it. Otherwise it falls by 2.5 for a GeV at the heavy end, by a category within a
            resolution, and no category of the smeared mass has the pure events to itself.
    """

    n_signal: int
    n_background: int
    sqrt_s: float = 10.58
    luminosity_fb: float = 408.0
    mass_range: tuple[float, float] = (0.17, 9.85)
    conditioned: bool = True

    @staticmethod
    def resolution(masses: NDArray) -> NDArray:
        """Of a kinematic fit: widths in MeV at a few masses, from the project's simulation studies."""
        at = [0.2, 0.5, 1, 2, 3, 5, 8, 9.5]
        return np.interp(masses, at, np.array([10.2, 10.4, 11.2, 12.9, 14.5, 16.6, 17.7, 13.9]) * 1e-3)

    @property
    def cuts(self) -> ThreePhotonGenerator:
        return ThreePhotonGenerator(self.sqrt_s, 0.5, -0.9475, 0.96)

    def smeared(self, generator: np.random.Generator, mass: NDArray) -> NDArray:
        return mass + self.resolution(mass) * generator.normal(size=len(mass))

    def signal(self, generator: np.random.Generator, mass: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Mass, smeared mass and score of those signal events that are seen."""
        cuts = self.cuts
        momenta = photon_with_resonance(generator, self.sqrt_s, mass)
        cosine = momenta[..., 2] / momenta[..., 3]
        seen = ((cosine > cuts.min_cos_theta) & (cosine < cuts.max_cos_theta)).all(axis=1)
        seen &= (momenta[..., 3] > cuts.min_energy).all(axis=1)
        return mass[seen], self.smeared(generator, mass[seen]), self._ratio(momenta[seen], 0, mass[seen])

    def truth(self, generator: np.random.Generator, mass: float, n: int) -> tuple[NDArray, ...]:
        """Observable and score of signal, and those with weights of background, within ±2 resolutions.

        The score is the logarithm of the ratio of the two densities, so signal of flat mass weighted by its
        inverse is background: many events where a direct simulation has few.
        """
        sigma = float(self.resolution(np.array([mass]))[0])
        _, observable, score = self.signal(generator, np.full(n, mass))
        near = np.abs(observable - mass) < 2 * sigma
        flat = generator.uniform(mass - 6 * sigma, mass + 6 * sigma, 3 * n)
        _, of_background, score_b = self.signal(generator, flat)
        inside = np.abs(of_background - mass) < 2 * sigma
        score_b = score_b[inside]
        return observable[near], score[near], of_background[inside], score_b, np.exp(-score_b)

    def scores(self, seed: int = 1) -> ToyScores:
        generator = np.random.default_rng(seed)
        cuts = self.cuts
        mass, observable_s, score_s = self.signal(
            generator, generator.uniform(*self.mass_range, self.n_signal)
        )
        background = cuts.generate(generator, self.n_background)
        score, observable = [score_s], [observable_s]
        for recoil, first, second in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            total = background[:, first] + background[:, second]
            squared = total[:, 3] ** 2 - np.sum(total[:, :3] ** 2, axis=1)
            of_pair = np.sqrt(np.maximum(squared, 0))
            score.append(self._ratio(background, recoil, of_pair))
            observable.append(self.smeared(generator, of_pair))
        key_s, key_b = (generator.integers(0, 2**63, n) for n in (len(mass), self.n_background))
        key = np.concatenate([key_s, key_b, key_b, key_b]).astype(np.uint64)
        n_rows = 3 * self.n_background
        of_signal = (self.mass_range[1] - self.mass_range[0]) / self.n_signal
        of_background = self.luminosity_fb * cuts.cross_section_fb / self.n_background
        return ToyScores(
            key=key,
            label=np.repeat([1.0, 0.0], [len(mass), n_rows]),
            weight=np.repeat([of_signal, of_background], [len(mass), n_rows]),
            mass=np.concatenate([mass, np.full(n_rows, np.nan)]),
            observable=np.concatenate(observable),
            score=np.concatenate(score),
        )

    @cached_property
    def log_density(self) -> tuple[NDArray, NDArray]:
        """Masses, and the logarithm of the background's density over that of signal of flat mass there."""
        plain = replace(self, conditioned=False)
        generator = np.random.default_rng(3)
        low, high = self.mass_range
        mass, _, score = plain.signal(generator, generator.uniform(low - 0.1, high + 0.2, 600_000))
        edges = np.linspace(low - 0.1, high + 0.2, 81)
        in_bin = np.digitize(mass, edges[1:-1])
        mean = np.bincount(in_bin, np.exp(-score)) / np.bincount(in_bin)
        return 0.5 * (edges[1:] + edges[:-1]), np.log(mean)

    def _ratio(self, momenta: NDArray, recoil: int, mass: NDArray) -> NDArray:
        """Logarithm of the likelihood ratio, at the mass or up to a function of it."""
        cosine = momenta[:, recoil, 2] / momenta[:, recoil, 3]
        plain = np.log((1 + cosine**2) / three_photon_matrix_element(momenta, self.sqrt_s))
        return plain + np.interp(mass, *self.log_density) if self.conditioned else plain


@dataclass(frozen=True, eq=False)
class ThreePhotonTruth:
    """Densities of signal and background in the window of each mass, from events that chose nothing.

    Attributes:
        masses: Both ends of the scan, nodes of the choice and masses between them, GeV, shape (n,).
        total: Expected background within ±2 resolutions, shape (n,).
        samples: For each mass what ``ThreePhotons.truth`` gives.
        ceiling: Limit of 150 bins of the score of equal signal over that of one, shape (n,).
        best_cut: The same of the best of 150 cuts.
    """

    masses: NDArray
    total: NDArray
    samples: tuple[tuple[NDArray, ...], ...]
    ceiling: NDArray
    best_cut: NDArray

    N_EVENTS = 150_000  # 1000 of the background in a bin: the ceiling is 0.05 % too high
    N_BINS = 150

    @classmethod
    def of(cls, case: ThreePhotons, chooser: Chooser) -> ThreePhotonTruth:
        nodes = chooser.nodes
        between = (nodes[1:] + nodes[:-1]) / 2
        masses = np.unique(
            np.concatenate([nodes[:3], between[:2], nodes[::8], between[4::8], between[-2:], nodes[-3:]])
        )
        total = chooser.fine_table_at(masses).background.sum(axis=1)
        generator = np.random.default_rng(2)
        samples = tuple(case.truth(generator, float(mass), cls.N_EVENTS) for mass in masses)
        ceiling, best_cut = np.empty(len(masses)), np.empty(len(masses))
        for i, (_, score, _, score_b, weight) in enumerate(samples):
            edges = np.quantile(score, np.linspace(0, 1, cls.N_BINS + 1)[1:-1])
            fine = np.bincount(np.searchsorted(edges, score_b), weight, cls.N_BINS)[::-1] / weight.sum()
            signal = np.full(cls.N_BINS, 1 / cls.N_BINS)
            ceiling[i] = cls._limit(chooser, signal, fine, total[i])
            cuts = [
                cls._limit(chooser, np.array([s]), np.array([b]), total[i])
                for s, b in zip(np.cumsum(signal), np.cumsum(fine), strict=True)
            ]
            best_cut[i] = np.min(cuts)
        return cls(masses, total, samples, ceiling, best_cut)

    @staticmethod
    def _limit(chooser: Chooser, signal: NDArray, background: NDArray, total: float) -> float:
        """Limit of categories with shares of signal and background, in units of one for all of the signal."""
        return float(chooser.shortcut(signal, background * total))

    def judge(self, chooser: Chooser, choices: Sequence[Choice]) -> tuple[NDArray, NDArray]:
        """Percent of the ceiling and of the best single cut that choices reach, each shape (n,).

        Geometric mean over the folds: each fold's boundaries are for its own share of the events.
        """
        limits = np.empty((len(choices), len(self.masses)))
        n = choices[0].boundaries.shape[1]
        for f, choice in enumerate(choices):
            boundaries = Boundaries(chooser.grid, choice.boundaries)
            for i, (observable, score, of_background, score_b, weight) in enumerate(self.samples):
                signal = np.bincount(boundaries.category(observable, score), minlength=n + 1)[1:] / len(score)
                passing = np.bincount(boundaries.category(of_background, score_b), weight, n + 1)[1:]
                limits[f, i] = self._limit(chooser, signal, passing / weight.sum(), self.total[i])
        reached = np.exp(np.log(limits).mean(axis=0))
        return 100 * self.ceiling / reached, 100 * self.best_cut / reached
