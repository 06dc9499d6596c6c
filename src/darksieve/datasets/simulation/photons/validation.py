"""Validation of the photons-only processes: rates, the toy calorimeter's response, masses of photon pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darksieve.datasets.simulation.photons.pair_mass_checks import pair_mass_checks
from darksieve.datasets.simulation.photons.rate_checks import rate_checks
from darksieve.datasets.simulation.photons.response_checks import response_checks
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.validation import (
    SimulatedFile,
    Validation,
)


def validate_photons(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    """Rates, resolutions of photons and of their pairs; the pairs are the run's own, where there are some."""
    settings = PhotonSettings.from_mapping(
        {name: value for name, value in samples[0].record.settings.items() if name != "inject"}
    )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, 0x7661)))
    checks, curves = response_checks(settings, rng)
    mass_checks, mass_curves = pair_mass_checks(samples, settings.detector, rng)
    return Validation(
        "photons",
        "Photons",
        (
            "Photon resolutions are those of a standard sample of e+e- → γa events without fake clusters or"
            " merging, pair masses those of the run's own samples, before any kinematic fit; their"
            " reference is the config's resolution, smeared onto the measured photons a second time by other"
            " code.",
            "Widths are half the central 68.27 %, so low tails count for what they are.",
        ),
        (*rate_checks(samples, settings, rng), *checks, *mass_checks),
        (*curves, *mass_curves),
    )
