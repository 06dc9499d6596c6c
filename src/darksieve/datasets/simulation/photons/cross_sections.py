"""Cross sections and branching fractions of the simulated processes, each with its unit and its source."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from darksieve.datasets.simulation.rates import stated, unit_and_source
from darksieve.errors import InputError


@dataclass(frozen=True)
class CrossSections:
    """Rates that are not calculated from a matrix element; replace any of them by keyword.

    ``unit_and_source`` tells where a number comes from, the sample's sidecar repeats it.
    """

    gamma_gamma_fb: float = stated(
        4.99e6,
        "fb",
        "e+e- -> γγ(γ) in 10 to 170 degrees in the CMS, E* > 0.15 GeV, Belle II Physics Book, "
        "arXiv:1808.10567, from memory; leading order gives 4.52e6",
    )
    gamma_eta_fb: float = stated(
        4.5, "fb", "e+e- -> γη at 10.58 GeV, 4.5 +1.2 -1.1 ± 0.3 fb, BaBar, hep-ex/0605018"
    )
    gamma_etaprime_fb: float = stated(
        5.4, "fb", "e+e- -> γη' at 10.58 GeV, 5.4 ± 0.8 ± 0.3 fb, BaBar, hep-ex/0605018"
    )
    form_factor_sqrt_s: float = stated(
        10.58, "GeV", "where γη and γη' were measured; other energies scale as 1/s² (q²F(q²) constant)"
    )
    eta_to_two_photons: float = stated(0.3936, "1", "B(η -> γγ), PDG 2024, from memory")
    etaprime_to_two_photons: float = stated(0.02307, "1", "B(η' -> γγ), PDG 2024, from memory")
    omega_electron_width: float = stated(
        6.4e-7, "GeV", "Γ(ω -> e+e-) = 7.38e-5 × 8.68 MeV, PDG 2024, from memory"
    )
    omega_width: float = stated(8.68e-3, "GeV", "Γ(ω), PDG, seen in a secondary source only")
    omega_to_pi0_photon: float = stated(
        0.0835, "1", "B(ω -> π0 γ) = (8.35 ± 0.27) %, PDG, seen in a secondary source only"
    )
    pi0_to_two_photons: float = stated(0.98823, "1", "B(π0 -> γγ), PDG 2024, from memory")

    lost_track_probability: float = stated(
        0.01, "1", "probability that the track of a high-momentum electron is not found; illustrative"
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(
                    f"cross_sections.{item.name} is {value}; it is a finite number of at least 0"
                )
            if item.metadata["unit"] == "1" and value > 1:
                raise InputError(f"cross_sections.{item.name} is {value}; a branching fraction is at most 1")

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        """Value, unit and source of every number, by its name; a replaced number says so."""
        return unit_and_source(self)
