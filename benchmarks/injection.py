"""A signal injected into independent simulation is found at its mass with the strength that was put in.

The model (signal shape, efficiency, background expectation) is made from one set of simulated samples. The
pseudo-experiments come from others, event by event, through the same reader, kinematic fit and selection;
nothing is drawn from a fitted function.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.entries import entry as figure
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Events, Role
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import read_samples
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.production import Injection, SampleRecord, simulate
from darksieve.evaluation.limits.engine import limits_of_search
from darksieve.evaluation.scan_channels import (
    CommonResolution,
    ScanCandidates,
    common_resolution,
    make_channels,
)
from darksieve.evaluation.scan_grid import mass_grid
from darksieve.evaluation.search_building import (
    BackgroundChoice,
    ScanChannel,
    Uncertainties,
    build_search_model,
    with_counts,
)
from darksieve.evaluation.signal_efficiency import fit_signal_efficiency

MASS = 2.0  # GeV
TIMES_EXPECTED = 3.0
LUMINOSITY_FB = 0.15  # of one experiment: some 450 background events in ±2 sigma
N_EXPERIMENTS = 200
MODEL_LUMINOSITY_FB = 4.0
SIGNAL_RANGE = (1.2, 2.8)
SCANNED = 10.0  # resolutions on both sides of the injected mass
MEASURED_RANGE = (1.0, 3.0)  # GeV, more than any window needs
PARAMETER = ("cross_section", "fb")
# those of the preset gamma_alp
UNCERTAINTIES = Uncertainties(luminosity=0.006, efficiency=0.04, width=0.05, scale_sigma=0.1)
BACKGROUND = BackgroundChoice("chebyshev", 3, 20.0)
COMMAND = "python -m benchmarks.injection"


def _read(samples: list[Sample], luminosity_fb: float) -> Events:
    low, high = MEASURED_RANGE
    recipe = ReadRecipe(
        columns=("M_gg", "cosHelicity", "is_true_pair"),
        luminosity_fb=luminosity_fb,
        select=f"fit_chi2 < 40 and M_gg > {low} and M_gg < {high}",
        pairings=PairingRecipe(
            ("gamma1", "gamma2", "gamma3"), ("fit_px", "fit_py", "fit_pz", "fit_E"), "M_gg", "genPair", True
        ),
        beams=PhotonSettings().beams,
        may_be_empty=True,  # e+e- -> γγ has no candidate here
    )
    return read_samples(samples, recipe).events


def _categories(events: Events) -> NDArray[np.int64]:
    """Two categories in the helicity angle, in place of a classifier's."""
    helicity = np.abs(events["cosHelicity"])
    return np.where(helicity < 0.4, 1, np.where(helicity < 0.8, 2, 0))


def _sample(record: SampleRecord, path: Path) -> Sample:
    if record.role is Role.SIGNAL:
        return Sample(
            record.process,
            record.role,
            (path,),
            mass="genM_a",
            n_generated=record.n_generated,
            mass_range=record.mass_range,
        )
    return Sample(record.process, record.role, (path,), luminosity_fb=record.luminosity_fb)


def _model_channels(
    folder: Path, n_signal: int, workers: int
) -> tuple[tuple[ScanChannel, ...], CommonResolution]:
    """Channels at the luminosity of one experiment, and what they share."""
    made = {
        "gamma_alp": simulate(
            "gamma_alp",
            folder / "gamma_alp.root",
            n_events=n_signal,
            mass_range=SIGNAL_RANGE,
            seed=101,
            workers=workers,
        )
    }
    for name in ("qed_3gamma", "gamma_gamma"):
        made[name] = simulate(
            name, folder / f"{name}.root", luminosity_fb=MODEL_LUMINOSITY_FB, seed=101, workers=workers
        )
    events = _read([_sample(record, folder / f"{name}.root") for name, record in made.items()], LUMINOSITY_FB)
    candidates = ScanCandidates(
        observable=events["M_gg"],
        mass=events.mass,
        weight=events.weight,
        label=np.where(events.is_signal, np.where(events["is_true_pair"], 1.0, np.nan), 0.0),
        is_data=events.is_data,
        sample=events.process,
        category=_categories(events),
    )
    common = common_resolution(
        candidates, mass_range=(MASS - 0.15, MASS + 0.15), position="mass", margin_sigma=20
    )
    signal = candidates.label == 1
    efficiency = fit_signal_efficiency(
        candidates.mass[signal],
        candidates.weight[signal],
        candidates.category[signal],
        2,
        mass_range=SIGNAL_RANGE,
    )
    channels = make_channels(
        candidates,
        common,
        name="all",
        n_categories=2,
        efficiency=efficiency,
        yield_per_efficiency=LUMINOSITY_FB,
    )
    return channels, common


def _experiments(
    folder: Path, edges: NDArray, cross_section_fb: float, n_experiments: int, workers: int
) -> list[Mapping[str, NDArray]]:
    """Counts of each channel in each experiment: one long run of pseudo-data, dealt out event by event."""
    path = folder / "pseudo_data.root"
    record = simulate(
        "gamma_alp_pseudo_data",
        path,
        luminosity_fb=LUMINOSITY_FB * n_experiments,
        inject=Injection(MASS, cross_section_fb),
        seed=202,
        workers=workers,
    )
    events = _read([Sample(record.process, record.role, (path,))], LUMINOSITY_FB)
    keys, event = np.unique(events.key, return_inverse=True)
    # every event falls into any experiment with equal probability: independent Poisson counts
    experiment = np.random.default_rng(303).integers(0, n_experiments, len(keys))[event]
    category = _categories(events)
    place = np.searchsorted(edges, events["M_gg"], side="right") - 1
    n_bins = len(edges) - 1
    inside = (place >= 0) & (place < n_bins)
    counts = {}
    for c in (1, 2):
        rows = inside & (category == c)
        flat = np.bincount(experiment[rows] * n_bins + place[rows], minlength=n_experiments * n_bins)
        counts[f"all_{c}"] = flat.reshape(n_experiments, n_bins)
    return [{name: values[i] for name, values in counts.items()} for i in range(n_experiments)]


def _expected_limit(channels: tuple[ScanChannel, ...]) -> float:
    blind = build_search_model(
        channels, [MASS], parameter=PARAMETER, background=BACKGROUND, uncertainties=UNCERTAINTIES
    )
    answer = limits_of_search(blind, errors=False)
    return float(answer.expected[0, int(np.argmin(np.abs(answer.levels)))])


def run(n_experiments: int = N_EXPERIMENTS, workers: int = 2, n_signal: int = 200_000) -> dict[str, Any]:
    """All experiments: injected and fitted strengths, pulls, and where the largest excess was."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        channels, common = _model_channels(folder, n_signal, workers)
        expected_limit = _expected_limit(channels)
        injected = TIMES_EXPECTED * expected_limit
        counts = _experiments(folder, common.edges, injected, n_experiments, workers)
    reach = SCANNED * float(common.sigma(np.asarray(MASS)))
    masses = mass_grid((MASS - reach, MASS + reach), common.sigma, 0.5)
    centre = int(np.argmin(np.abs(masses - MASS)))
    masses[centre] = MASS
    fitted, low, high, significance, found = (np.empty(n_experiments) for _ in range(5))
    failed = 0
    for i, of_experiment in enumerate(counts):
        model = build_search_model(
            with_counts(channels, of_experiment),
            masses,
            parameter=PARAMETER,
            background=BACKGROUND,
            uncertainties=UNCERTAINTIES,
        )
        answer = limits_of_search(model)
        failed += sum(status == "failed" for status in answer.status)
        fitted[i], significance[i] = answer.best_fit[centre], answer.significance[centre]
        low[i], high[i] = np.abs(answer.best_fit_error[centre])
        found[i] = answer.masses[int(np.nanargmax(answer.significance))]
    # the error towards the truth: a fit above it is compared with its lower error
    pulls = (fitted - injected) / np.where(fitted > injected, low, high)
    return {
        "expected_limit": expected_limit,
        "injected": injected,
        "pulls": pulls,
        "fitted": fitted,
        "significance": significance,
        "distance_sigma": (found - MASS) / float(common.sigma(np.asarray(MASS))),
        "failed": failed,
    }


def measure(n_experiments: int = N_EXPERIMENTS, workers: int = 2) -> list[dict[str, Any]]:
    """The figures of the injection study, one entry each."""
    out = run(n_experiments, workers)
    pulls, distance = out["pulls"], np.abs(out["distance_sigma"])
    mean, width = float(np.mean(pulls)), float(np.std(pulls, ddof=1))
    mean_error = width / np.sqrt(len(pulls))
    width_error = width / np.sqrt(2 * (len(pulls) - 1))
    setting = (
        f"{n_experiments} experiments of {LUMINOSITY_FB}/fb from independent simulation,"
        f" {out['injected']:.0f} fb at {MASS} GeV = {TIMES_EXPECTED:.0f} x expected limit,"
        " mean local significance"
        f" {np.mean(out['significance']):.1f}"
    )

    def entry(name: str, value: float, bar: str, passed: bool) -> dict[str, Any]:
        return figure("chain", COMMAND, name, value, bar, passed=passed, note=setting)

    return [
        entry(f"injected signal: mean pull (± {mean_error:.2f})", mean, "|mean| < 0.2", abs(mean) < 0.2),
        entry(
            f"injected signal: width of pulls (± {width_error:.2f})", width, "0.8 - 1.2", 0.8 <= width <= 1.2
        ),
        entry(
            "injected signal: share found within one resolution of the injected mass",
            float(np.mean(distance < 1)),
            ">= 0.99",
            float(np.mean(distance < 1)) >= 0.99,
        ),
        entry(
            "injected signal: mean fitted over injected strength",
            float(np.mean(out["fitted"])) / out["injected"],
            "0.95 - 1.05",
            abs(float(np.mean(out["fitted"])) / out["injected"] - 1) < 0.05,
        ),
        entry("injected signal: failed fits", float(out["failed"]), "0", out["failed"] == 0),
    ]


def main() -> None:
    """Run the study and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=N_EXPERIMENTS)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for found in measure(options.experiments, options.workers):
        state = "passed" if found["passed"] else "FAILED"
        print(f"{state}  {found['name']}: {found['value']} (bar {found['bar']})")
    print(figure["note"])


if __name__ == "__main__":
    main()
