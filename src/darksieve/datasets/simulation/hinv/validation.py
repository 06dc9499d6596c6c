"""Validation of the B → h X processes: efficiency of the tag, recoil resolution, the tag's mass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darksieve.constants import B_PLUS_MASS
from darksieve.datasets.simulation.bfactory.generation import b_pair_events
from darksieve.datasets.simulation.hinv.channels import B_PLUS_PDG, B_ZERO_PDG, CHANNELS
from darksieve.datasets.simulation.hinv.columns import MASS_BRANCH, WEIGHT_BRANCH
from darksieve.datasets.simulation.hinv.matching import true_bs
from darksieve.datasets.simulation.hinv.settings import STAND_IN, HinvSettings
from darksieve.datasets.simulation.phase_space import Floats
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

N_PAIRS = 4_000
_SIGNALS = {f"hinv_{name}": channel for name, channel in CHANNELS.items()}


def _median(values: Floats) -> float:
    return float(np.median(values))


def validate_hinv(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    """Tags of a standard sample against the stated efficiency; h of the run's signals against kinematics."""
    settings = HinvSettings.from_mapping(samples[0].record.settings)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(6, 0x7661)))
    checks = _tag_efficiencies(rng, settings)
    for sample in samples:
        if sample.record.process in _SIGNALS:
            checks.extend(_recoil_checks(sample, settings))
    return Validation(
        "hinv",
        "B → h X with a hadronic tag",
        (
            f"Tag efficiencies are those of {N_PAIRS} B+B- and as many neutral pairs with"
            " the run's settings; momenta are those of true candidates (isSignal) in the run's own signals.",
            f"Note that {STAND_IN}.",
        ),
        tuple(checks),
        _mbc_curves(samples),
    )


def _tag_efficiencies(rng: np.random.Generator, settings: HinvSettings) -> list[Check]:
    checks = []
    for pdg, label, stated in (
        (B_PLUS_PDG, "B±", settings.tag.efficiency_charged),
        (B_ZERO_PDG, "B0", settings.tag.efficiency_neutral),
    ):
        batch = b_pair_events(rng, settings.beams, settings.generator.energy_spread, pdg, N_PAIRS)
        efficiency = true_bs(batch, settings.beams, settings.tag).efficiency.ravel()
        measured = (efficiency.mean(), efficiency.std() / np.sqrt(len(efficiency)))
        source = "the config's: arXiv:1807.08680, from memory"
        checks.append(
            Check.compare(f"right tags per generic {label}", measured, (stated, 0.0), "%", source, scale=100)
        )
    return checks


def _expected_width(settings: HinvSettings, momentum: float) -> float:
    """Resolution of p_h of a track without tails; its transverse momentum is taken for the whole."""
    tag = settings.tag.momentum_sigma * momentum / B_PLUS_MASS
    track = momentum * np.hypot(settings.tracking.curvature * momentum, settings.tracking.scattering)
    return float(np.hypot(tag, track))


def _recoil_checks(sample: SimulatedFile, settings: HinvSettings) -> list[Check]:
    """Median of p_h against two-body kinematics, and its width."""
    channel = _SIGNALS[sample.record.process]
    columns = sample.columns("p_h", MASS_BRANCH, "isSignal")
    true = columns["isSignal"] == 1
    mass = columns[MASS_BRANCH][true].astype(np.float64)
    difference = columns["p_h"][true] - channel.momentum(mass)
    checks = []
    median = grouped_error(difference, _median)
    if known(median):
        quantity = f"median of p_h less its true value, {channel.label}"
        source = "two-body kinematics"
        checks.append(Check.compare(quantity, median, (0.0, 0.0), "MeV", source, scale=1e3))
    width = grouped_error(difference, half_width)
    if channel.name == "pi" and known(width):
        quantity = f"half of the central 68 % of p_h, {channel.label}"
        source = "the cores of tag and track in the settings: σ_tag E_h/m_B ⊕ σ_p, at the median momentum"
        expected = _expected_width(settings, float(np.median(channel.momentum(mass))))
        checks.append(Check(quantity, 1e3 * width[0], 1e3 * width[1], 1e3 * expected, None, "MeV", source))
    return checks


def _mbc_curves(samples: Sequence[SimulatedFile]) -> tuple[Curve, ...]:
    """Mbc of right and wrong tags in all samples, by weight."""
    edges = np.linspace(5.24, 5.29, 51)
    counts = {"right tags": np.zeros(50), "wrong tags": np.zeros(50)}
    for sample in samples:
        columns = sample.columns("tag_Mbc", "genTagIsRight", WEIGHT_BRANCH)
        right = columns["genTagIsRight"] == 1
        for label, rows in (("right tags", right), ("wrong tags", ~right)):
            weights = columns[WEIGHT_BRANCH][rows]
            counts[label] += np.histogram(columns["tag_Mbc"][rows], edges, weights=weights)[0]
    centres = (edges[1:] + edges[:-1]) / 2
    series = tuple(
        Series.of(label, centres, values / values.sum())
        for label, values in counts.items()
        if values.sum() > 0
    )
    if not series:
        return ()
    return (
        Curve(
            "tag_mbc",
            "Beam-constrained mass of the tag, all samples",
            "Mbc [GeV]",
            "Share of candidates per MeV",
            series,
            "Right tags peak at 5.279 GeV with a width of 3 MeV; wrong ones are broader.",
        ),
    )
