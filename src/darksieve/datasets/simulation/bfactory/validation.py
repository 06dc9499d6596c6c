"""Validation of the processes at the Υ(4S): multiplicities, flavours, B mesons, resolutions of candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.simulation.bfactory.columns import MASS_BRANCH
from darksieve.datasets.simulation.bfactory.generation import b_pair_events, continuum_events
from darksieve.datasets.simulation.bfactory.particles import ParticleBatch
from darksieve.datasets.simulation.bfactory.pythia import B_MASSES, B_PLUS_PDG
from darksieve.datasets.simulation.bfactory.settings import BFactorySettings
from darksieve.datasets.simulation.decays import Floats
from darksieve.datasets.simulation.validation import (
    Check,
    Curve,
    Series,
    SimulatedFile,
    Validation,
    grouped_error,
    half_width,
    known,
)

N_PAIRS = 3_000
N_CONTINUUM = 5_000
_MIN_ROWS = 250
_CHARGED = (11, 13, 211, 321, 2212)
# nb, Belle II Physics Book, arXiv:1808.10567, from memory; in the order of Pythia's numbers d, u, s, c
_FLAVOURS = {1: ("d", 0.40), 2: ("u", 1.61), 3: ("s", 0.38), 4: ("c", 1.30)}
_SIGNAL = "b_to_{}_alp"
_MODES = ("kplus", "kshort", "kstarplus", "kstarzero")
_PROTOTYPE = "an earlier program with the same forms of response, B+ → K+ a"


def _mean(values: Floats) -> float:
    return float(np.mean(values))


def validate_bfactory(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    """Events against measurements; candidates of the run's own signals against an earlier program."""
    settings = BFactorySettings.from_mapping(samples[0].record.settings)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4, 0x7661)))
    modes = {_SIGNAL.format(mode): mode for mode in _MODES}
    signals = [(modes[s.record.process], s) for s in samples if s.record.process in modes]
    pair_checks, multiplicity = _pairs(rng, settings)
    return Validation(
        "bfactory",
        "Events at the Υ(4S)",
        (
            f"Multiplicities, flavours and B momenta are those of standard samples of {N_PAIRS} BB and"
            f" {N_CONTINUUM} continuum events with the run's settings; widths are those of true candidates"
            " (isSignal) in the run's own signals. Charged particles are π, K, p, e and μ, those of K_S and Λ"
            " decays included.",
            "Flavours are Pythia's, whose initial-state radiation and couplings are not those of the"
            " published cross sections; the total is normalised to the published one.",
        ),
        (*pair_checks, *_continuum(rng, settings), *_candidates(signals)),
        (multiplicity, *_mass_resolution(signals)),
    )


def _n_charged(batch: ParticleBatch) -> NDArray[np.int64]:
    counted = batch.is_final & np.isin(np.abs(batch.pdg), _CHARGED)
    return np.bincount(batch.event[counted], minlength=batch.n_events)


def _pairs(rng: np.random.Generator, settings: BFactorySettings) -> tuple[list[Check], Curve]:
    batch = b_pair_events(rng, settings.beams, settings.generator.energy_spread, B_PLUS_PDG, N_PAIRS)
    n_charged = _n_charged(batch)
    is_b = np.flatnonzero(np.abs(batch.pdg) == B_PLUS_PDG)
    cms = settings.beams.to_cms(batch.momenta[is_b])
    momentum = np.linalg.norm(cms[:, :3], axis=1)
    cosine2 = (cms[:, 2] / momentum) ** 2
    energies = np.bincount(batch.event[is_b], cms[:, 3], minlength=N_PAIRS)
    spread, spread_error = grouped_error(energies.astype(np.float64), half_width)
    at_rest = np.sqrt(settings.beams.sqrt_s**2 / 4 - B_MASSES[B_PLUS_PDG] ** 2)
    # the two B of an event share one direction: an event counts once
    event_cosine2 = np.bincount(batch.event[is_b], cosine2, minlength=N_PAIRS) / 2
    checks = [
        Check.compare(
            "charged particles per B+B- event",
            grouped_error(n_charged.astype(np.float64), _mean),
            (10.71, 0.22),
            "1",
            "CLEO, twice 5.36 ± 0.01 ± 0.11 per B, from memory",
        ),
        Check.compare(
            "mean cos²θ* of the B",
            grouped_error(event_cosine2.astype(np.float64), _mean),
            (0.2, 0.0),
            "1",
            "sin²θ",
        ),
        Check(
            "median momentum of the B in the CMS",
            float(np.median(momentum)),
            float(1.2533 * momentum.std() / np.sqrt(N_PAIRS)),
            float(at_rest),
            0.0,
            "GeV",
            "√(s/4 − m²), masses of PDG 2024",
        ),
        Check.compare(
            "spread of the collision's energy",
            (spread, spread_error),
            (settings.generator.energy_spread, 0.0),
            "MeV",
            "the config's, 5 MeV at KEKB from memory",
            scale=1e3,
        ),
    ]
    edges = np.arange(-1.0, 40.0, 2.0)  # charge is conserved: the numbers are even
    counts = np.histogram(n_charged, edges)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    curve = Curve(
        "charged_multiplicity",
        "Charged particles per B+B- event",
        "Charged particles",
        "Share of events",
        (Series.of("simulated", centres, counts / N_PAIRS, np.sqrt(counts) / N_PAIRS),),
        "Distribution of the charged multiplicity of BB events, with its peak between 10 and 11.",
    )
    return [check for check in checks if known((check.value, check.error))], curve


def _continuum(rng: np.random.Generator, settings: BFactorySettings) -> list[Check]:
    batch = continuum_events(rng, settings.beams, settings.generator.min_continuum_mass, N_CONTINUUM)
    total = sum(rate for _, rate in _FLAVOURS.values())
    checks = []
    for number, (name, rate) in _FLAVOURS.items():
        share = float((batch.submode == number).mean())
        checks.append(
            Check(
                f"share of {name} in the continuum",
                100 * share,
                100 * float(np.sqrt(share * (1 - share) / N_CONTINUUM)),
                100 * rate / total,
                None,
                "%",
                "cross sections of the Belle II Physics Book, from memory",
            )
        )
    return checks


def _candidates(signals: Sequence[tuple[str, SimulatedFile]]) -> list[Check]:
    """Widths of Mbc and ΔE of true candidates."""
    checks = []
    for mode, sample in signals:
        columns = sample.columns("Mbc", "deltaE", "isSignal")
        true = columns["isSignal"] == 1
        if true.sum() < _MIN_ROWS:
            continue
        for branch, name, reference in (("Mbc", "Mbc", 2.9), ("deltaE", "ΔE", 43.5)):
            width, error = grouped_error(columns[branch][true].astype(np.float64), half_width)
            checks.append(
                Check(
                    f"half width of 68 % of {name}, {mode}, sample {sample.name}",
                    1e3 * width,
                    1e3 * error,
                    reference,
                    None,
                    "MeV",
                    _PROTOTYPE,
                )
            )
    return checks


def _mass_resolution(signals: Sequence[tuple[str, SimulatedFile]]) -> list[Curve]:
    """Half width of M(γγ) of true candidates against the generated mass."""
    series = []
    for mode, sample in signals:
        columns = sample.columns("M_gg", "M_gg_fit", "isSignal", MASS_BRANCH)
        true = columns["isSignal"] == 1
        mass = columns[MASS_BRANCH][true].astype(np.float64)
        for branch, name in (("M_gg", "measured"), ("M_gg_fit", "after the fit")):
            difference = columns[branch][true] - mass
            rows = []
            for low in np.arange(0.25, 4.75, 0.5):
                inside = (low <= mass) & (mass < low + 0.5)
                if inside.sum() >= _MIN_ROWS:
                    width = grouped_error(difference[inside].astype(np.float64), half_width)
                    rows.append((float(np.median(mass[inside])), *width))
            if rows:
                x, y, errors = np.array(rows).T
                series.append(Series.of(f"{mode}, {name}", x, 1e3 * y, 1e3 * errors))
    if not series:
        return []
    reference = Series.of(_PROTOTYPE, [0.5, 1.0, 2.0, 3.0, 4.0], [9.0, 14.0, 26.0, 37.0, 49.0])
    return [
        Curve(
            "alp_mass_resolution",
            "Mass resolution of a → γγ",
            "Generated mass of a [GeV]",
            "Half width of 68 % of M(γγ) − m [MeV]",
            (*series, reference),
            "Mass resolution of the light particle against its mass, before and after the fit.",
        )
    ]
