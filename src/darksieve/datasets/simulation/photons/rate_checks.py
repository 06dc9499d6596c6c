"""Rates of the photons-only processes, against references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darksieve.constants import ALPHA_QED, GEV2_TO_FB
from darksieve.datasets.simulation.decays import direction, massless
from darksieve.datasets.simulation.photons.measurement import measure
from darksieve.datasets.simulation.photons.qed import ThreePhotonGenerator
from darksieve.datasets.simulation.photons.settings import PhotonSettings
from darksieve.datasets.simulation.photons.sources import TwoPhotonSource, pole_cosine
from darksieve.datasets.simulation.validation import (
    Check,
    Floats,
    SimulatedFile,
)

N_TWO_PHOTON_EVENTS = 400_000


def rate_checks(
    samples: Sequence[SimulatedFile], settings: PhotonSettings, rng: np.random.Generator
) -> list[Check]:
    """Cross sections of the run's processes, and the share of γγ that a fake cluster lets through."""
    checks = []
    used = {sample.record.process: sample.record for sample in samples}
    rates = settings.cross_sections
    if "qed_3gamma" in used:
        barrel = ThreePhotonGenerator(10.58, 0.65, -0.85, 0.85)
        checks.append(
            Check(
                "σ(e+e- → γγγ), E* > 0.65 GeV, |cos θ*| < 0.85, √s = 10.58 GeV",
                barrel.cross_section_fb / 1e3,
                barrel.cross_section_error_fb / 1e3,
                34.27,
                0.05,
                "pb",
                "same matrix element on flat phase space (RAMBO), another program",
            )
        )
    if "gamma_gamma" in used:
        checks += _two_photons(settings, rng)
    given = (
        ("gamma_eta", "η", rates.eta_to_two_photons, 4.5, 1.24),
        ("gamma_etaprime", "η'", rates.etaprime_to_two_photons, 5.4, 0.85),
    )
    for process, name, fraction, reference, error in given:
        cross_section = used[process].cross_section_fb if process in used else None
        if cross_section is not None and fraction > 0:
            checks.append(
                Check(
                    f"σ(e+e- → γ{name}) at √s = {settings.beams.sqrt_s:.3f} GeV, an input",
                    cross_section / fraction,
                    0.0,
                    reference,
                    error,
                    "fb",
                    "BaBar at 10.58 GeV, hep-ex/0605018, errors in quadrature",
                )
            )
    return checks


def _two_photons(settings: PhotonSettings, rng: np.random.Generator) -> list[Check]:
    """The rate that is an input, and the fakes: drawn freely against drawn where one is certain."""
    source = TwoPhotonSource(
        settings.beams,
        settings.detector,
        settings.selection.min_energy_lab,
        settings.cross_sections.gamma_gamma_fb,
    )
    cosine = source.max_cosine
    leading_order = (
        2
        * np.pi
        * ALPHA_QED**2
        / settings.beams.sqrt_s**2
        * (np.log((1 + cosine) / (1 - cosine)) - cosine)
        * GEV2_TO_FB
    )
    checks = [
        Check(
            "σ(e+e- → γγ), 10 to 170 degrees in the CMS, an input",
            settings.cross_sections.gamma_gamma_fb / 1e6,
            0.0,
            leading_order / 1e6,
            None,
            "nb",
            "leading order, in closed form; the input has radiative corrections",
        )
    ]
    fake = source.fake_probability
    if fake <= 0:
        return checks
    # events with a certain fake against events of the whole process: two different draws of the same fakes
    n_forced = N_TWO_PHOTON_EVENTS // 10
    photons = source.generate(rng, n_forced)
    kept_forced = len(
        measure(
            rng,
            photons,
            beams=settings.beams,
            detector=settings.detector,
            selection=settings.selection,
            force_fake=True,
        ).event
    )
    photons = _free_two_photons(source, rng, N_TWO_PHOTON_EVENTS)
    kept_free = len(
        measure(
            rng,
            photons,
            beams=settings.beams,
            detector=settings.detector,
            selection=settings.selection,
        ).event
    )
    if min(kept_forced, kept_free) < 10:
        return checks
    forced, unforced = kept_forced / n_forced * fake, kept_free / N_TWO_PHOTON_EVENTS
    checks.append(
        Check(
            "γγ events that pass the preselection by a fake cluster, fakes made certain and weighted",
            1e3 * forced,
            1e3 * forced / np.sqrt(kept_forced),
            1e3 * unforced,
            1e3 * unforced / np.sqrt(kept_free),
            "1e-3",
            "the same events with freely drawn fakes",
        )
    )
    return checks


def _free_two_photons(source: TwoPhotonSource, rng: np.random.Generator, n: int) -> Floats:
    """Events of e+e- → γγ at leading order, whether or not a fake comes with them, shape (n, 2, 4)."""
    trial = pole_cosine(rng, 3 * n, -source.max_cosine, source.max_cosine)
    cosine = trial[rng.random(3 * n) < 0.5 * (1 + trial**2)][:n]
    unit = direction(cosine, rng.uniform(-np.pi, np.pi, len(cosine)))
    energy = np.full(len(unit), 0.5 * source.beams.sqrt_s)
    return np.stack([massless(energy, unit), massless(energy, -unit)], axis=1)
