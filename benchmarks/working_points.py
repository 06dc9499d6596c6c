"""Working points: 10³ masses × 10² cuts on the expected limit, against a loop over masses and cuts with
scipy.

Run alone: ``python -m benchmarks.working_points``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator, three_photon_matrix_element
from darksieve.datasets.simulation.photons.sources import photon_with_resonance
from darksieve.evaluation.choosing import choose_working_points
from darksieve.evaluation.landscape import cut_landscape

N_MASSES, N_CUTS = 1000, 100
N_SIGNAL, N_BACKGROUND = 200_000, 1_000_000
LOW, HIGH = 0.2, 9.8  # GeV
PEER_MASSES = 4  # the loop is timed on so many masses and scaled up
COMMAND = "python -m benchmarks.working_points"


@dataclass(frozen=True, eq=False)
class ToyScores:
    """Scored candidates whose score is the exact likelihood ratio of their toy."""

    key: NDArray
    label: NDArray
    weight: NDArray
    mass: NDArray
    observable: NDArray
    score: NDArray


def resolution(masses: NDArray) -> NDArray:
    return 0.010 + 0.0008 * np.asarray(masses)


def separation(masses: NDArray) -> NDArray:
    return 1.6 - 0.04 * np.asarray(masses)


def make_scores(seed: int = 0) -> ToyScores:
    generator = np.random.default_rng(seed)
    mass = generator.uniform(LOW, HIGH, N_SIGNAL)
    signal = mass + resolution(mass) * generator.normal(size=N_SIGNAL)
    background = generator.uniform(LOW - 0.1, HIGH + 0.1, N_BACKGROUND)
    observable = np.concatenate([signal, background])
    distance = separation(np.concatenate([mass, background]))
    latent = generator.normal(size=len(observable))
    latent[:N_SIGNAL] += distance[:N_SIGNAL]
    score = 1 / (1 + np.exp(-(distance * latent - distance**2 / 2)))
    key = generator.integers(0, 2**63, len(observable)).astype(np.uint64)
    return ToyScores(
        key=key,
        label=np.repeat([1.0, 0.0], [N_SIGNAL, N_BACKGROUND]),
        weight=np.repeat([0.3 * (HIGH - LOW) / N_SIGNAL, 10.0], [N_SIGNAL, N_BACKGROUND]),
        mass=np.concatenate([mass, np.full(N_BACKGROUND, np.nan)]),
        observable=observable,
        score=score.astype(np.float32),
    )


@dataclass(frozen=True)
class ThreePhotons:
    """e+e- -> γγγ at leading order against γa, exact likelihood ratio as the score, toy mass resolution."""

    n_signal: int
    n_background: int
    sqrt_s: float = 10.58
    luminosity_fb: float = 408.0
    mass_range: tuple[float, float] = (0.17, 9.85)

    @staticmethod
    def resolution(masses: NDArray) -> NDArray:
        """Of a kinematic fit: widths in MeV at a few masses, from the project's simulation studies."""
        at = [0.2, 0.5, 1, 2, 3, 5, 8, 9.5]
        return np.interp(masses, at, np.array([10.2, 10.4, 11.2, 12.9, 14.5, 16.6, 17.7, 13.9]) * 1e-3)

    def scores(self, seed: int = 1) -> ToyScores:
        generator = np.random.default_rng(seed)
        cuts = ThreePhotonGenerator(self.sqrt_s, 0.5, -0.9475, 0.96)
        mass = generator.uniform(*self.mass_range, self.n_signal)
        signal = photon_with_resonance(generator, self.sqrt_s, mass)
        cosine = signal[..., 2] / signal[..., 3]
        seen = ((cosine > cuts.min_cos_theta) & (cosine < cuts.max_cos_theta)).all(axis=1)
        seen &= (signal[..., 3] > cuts.min_energy).all(axis=1)
        signal, mass = signal[seen], mass[seen]
        background = cuts.generate(generator, self.n_background)
        pairs = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # recoil photon, then the pair
        score = [self._ratio(signal, 0)] + [self._ratio(background, pair[0]) for pair in pairs]
        observable = [mass + self.resolution(mass) * generator.normal(size=len(mass))]
        for _, first, second in pairs:
            total = background[:, first] + background[:, second]
            squared = total[:, 3] ** 2 - np.sum(total[:, :3] ** 2, axis=1)
            observable.append(np.sqrt(np.maximum(squared, 0)))
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

    def _ratio(self, momenta: NDArray, recoil: int) -> NDArray:
        """Logarithm of the likelihood ratio, up to a function of the mass."""
        cosine = momenta[:, recoil, 2] / momenta[:, recoil, 3]
        return np.log((1 + cosine**2) / three_photon_matrix_element(momenta, self.sqrt_s))


def three_photon_entries() -> list[dict[str, Any]]:
    """Percent of the exact ratio's ceiling with one cut and with categories."""
    case = ThreePhotons(n_signal=600_000, n_background=3_000_000)
    scores = case.scores()
    masses = np.linspace(0.2, 9.75, 300)
    entries = []
    for kind, n, bar in (
        ("threshold", 1, None), ("categories", 4, 96.5), ("categories", 6, 98.5), ("categories", 10, 99.3)
    ):  # fmt: skip
        points = choose_working_points(
            scores, masses, case.resolution, kind=kind, n_categories=n, mass_range=case.mass_range
        )
        percent = points.figures.percent_of_ceiling
        # neighbouring masses share events: smooth over twenty before asking for the worst
        smooth = np.convolve(percent, np.full(20, 1 / 20), mode="valid")
        error = points.figures.errors["percent_of_ceiling"]
        entries.append(
            {
                "area": "working-points",
                "name": f"3 photons, exact ratio, {n} {kind}: percent of the ceiling, mean over masses "
                f"(worst 20 masses together {smooth.min():.1f}; error at one mass {error.mean():.1f})",
                "value": float(percent.mean()),
                "bar": f">= {bar}" if bar else "about 85: what one cut loses",
                "peer": None,
                "ratio": None,
                "command": COMMAND,
                "passed": bool(percent.mean() >= bar) if bar else True,
            }
        )
    return entries


def loop_with_scipy(scores: ToyScores, masses: NDArray, kept_signal: NDArray) -> NDArray:
    """Median expected limits written by hand: masks, sums and a root search for each mass and cut."""
    target = norm.isf(0.025) ** 2
    limits = np.empty((len(masses), len(kept_signal)))
    for i, mass in enumerate(masses):
        half = 2 * resolution(mass)
        near = np.abs(scores.observable - mass) < half
        signal_here = near & (scores.label == 1) & (np.abs(scores.mass - mass) < half)
        ordered = np.sort(scores.score[signal_here])[::-1]
        for j, share in enumerate(kept_signal):
            threshold = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
            s = 0.28 * share
            b = np.sum(scores.weight[near & (scores.label == 0) & (scores.score >= threshold)])
            b = max(b, 1e-9)

            def excess(mu: float, s: float = s, b: float = b) -> float:
                return 2 * (mu * s - b * np.log1p(mu * s / b)) - target

            limits[i, j] = brentq(excess, 0, 1e9)
    return limits


def measure() -> list[dict[str, Any]]:
    """Entries for figures.json."""
    scores = make_scores()
    masses = np.linspace(LOW + 0.1, HIGH - 0.1, N_MASSES)
    cut_landscape(scores, masses[:3], resolution, n_cuts=N_CUTS)  # loads the compiled kernels
    start = time.perf_counter()
    landscape = cut_landscape(scores, masses, resolution, n_cuts=N_CUTS, objective="expected_limit_counting")
    of_landscape = time.perf_counter() - start
    picked = np.linspace(0, N_MASSES - 1, PEER_MASSES).astype(int)
    start = time.perf_counter()
    by_hand = loop_with_scipy(scores, masses[picked], landscape.kept_signal)
    of_loop = (time.perf_counter() - start) * N_MASSES / PEER_MASSES
    agreement = float(np.nanmedian(np.abs(landscape.value[picked] / by_hand - 1)))

    def entry(name: str, value: float, bar: str, passed: bool, **more: Any) -> dict[str, Any]:
        return {
            "area": "working-points",
            "name": name,
            "value": value,
            "bar": bar,
            "peer": None,
            "ratio": None,
            "command": COMMAND,
            "passed": passed,
            **more,
        }

    entries = [
        entry(
            "expected limit of 1000 masses x 100 cuts, 600k candidates, seconds",
            of_landscape,
            "< 30",
            of_landscape < 30,
            peer=f"loop with scipy.brentq, {PEER_MASSES} masses scaled up: {of_loop:.0f} s; "
            f"median difference {agreement:.1%}",
            ratio=of_loop / of_landscape,
        )
    ]
    for kind, n in (("threshold", 1), ("categories", 4)):
        start = time.perf_counter()
        points = choose_working_points(scores, masses, resolution, kind=kind, n_categories=n)
        seconds = time.perf_counter() - start
        entries.append(
            entry(
                f"choose and quote {kind} ({n}) at 1000 masses, 1.2M candidates, with errors, seconds",
                seconds,
                "< 30",
                seconds < 30,
            )
        )
        optimism, error = points.choice["mean_optimism"], points.choice["mean_optimism_error"]
        entries.append(
            entry(
                f"mean optimism of {kind} ({n}) - 1, error {error:.4f}",
                optimism - 1,
                "< 0.01",
                optimism - 1 < 0.01,
            )
        )
    return entries + three_photon_entries()


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
