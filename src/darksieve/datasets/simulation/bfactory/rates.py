"""Cross sections and branching fractions at the Υ(4S), each with its unit and its source."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from darksieve.datasets.simulation.rates import stated, unit_and_source
from darksieve.errors import InputError

PEAKING_MESONS = ("pi0", "eta", "etaprime")
KAON_MODES = ("kplus", "kshort", "kstarplus", "kstarzero")


def _fraction(value: float, decay: str) -> float:
    return stated(value, "1", f"B({decay}), PDG, from memory")


@dataclass(frozen=True)
class Rates:
    """What turns generated events into a luminosity; replace any number by keyword.

    ``kstarplus`` and ``kstarzero`` are K*(892)+ and K*(892)0, ``kshort`` is K0 (seen as K_S → π+π-).
    """

    continuum_fb: float = stated(
        3.69e6,
        "fb",
        "e+e- → u ū, d d̄, s s̄, c c̄ at the Υ(4S), 1.61 + 0.40 + 0.38 + 1.30 nb, Belle II Physics Book, "
        "arXiv:1808.10567, from memory; Pythia's own is 3.3 nb and its mixture of flavours is used",
    )
    upsilon4s_fb: float = stated(
        1.11e6, "fb", "e+e- → Υ(4S), Belle II Physics Book, arXiv:1808.10567, from memory"
    )
    charged_fraction: float = stated(0.514, "1", "B(Υ(4S) → B+B-), PDG 2024, from memory")
    neutral_fraction: float = stated(0.486, "1", "B(Υ(4S) → B0 anti-B0), PDG 2024, from memory")
    kplus_pi0: float = _fraction(1.29e-5, "B+ → K+ π0")
    kplus_eta: float = _fraction(2.4e-6, "B+ → K+ η")
    kplus_etaprime: float = _fraction(7.04e-5, "B+ → K+ η'")
    kshort_pi0: float = _fraction(9.9e-6, "B0 → K0 π0")
    kshort_eta: float = _fraction(1.23e-6, "B0 → K0 η")
    kshort_etaprime: float = _fraction(6.6e-5, "B0 → K0 η'")
    kstarplus_pi0: float = _fraction(6.8e-6, "B+ → K*+ π0")
    kstarplus_eta: float = _fraction(1.93e-5, "B+ → K*+ η")
    kstarplus_etaprime: float = _fraction(4.8e-6, "B+ → K*+ η'")
    kstarzero_pi0: float = _fraction(3.3e-6, "B0 → K*0 π0")
    kstarzero_eta: float = _fraction(1.59e-5, "B0 → K*0 η")
    kstarzero_etaprime: float = _fraction(2.8e-6, "B0 → K*0 η'")
    pi0_to_two_photons: float = _fraction(0.98823, "π0 → γγ")
    eta_to_two_photons: float = _fraction(0.3936, "η → γγ")
    etaprime_to_two_photons: float = _fraction(0.02307, "η' → γγ")
    kshort_in_k0: float = stated(0.5, "1", "K_S in K0, without CP violation")
    kshort_to_two_pions: float = _fraction(0.6920, "K_S → π+π-")
    kstarplus_to_k0_pion: float = stated(2 / 3, "1", "K*+ → K0 π+, isospin")
    kstarplus_to_kplus_pi0: float = stated(1 / 3, "1", "K*+ → K+ π0, isospin")
    kstarzero_to_kplus_pion: float = stated(2 / 3, "1", "K*0 → K+ π-, isospin")

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"rates.{item.name} is {value}; it is a finite number of at least 0")
            if item.metadata["unit"] == "1" and value > 1:
                raise InputError(f"rates.{item.name} is {value}; a fraction is at most 1")

    def b_pairs_fb(self, *, charged: bool) -> float:
        """Cross section of e+e- → Υ(4S) → B B̄ of either kind."""
        return self.upsilon4s_fb * (self.charged_fraction if charged else self.neutral_fraction)

    def submodes(self, mode: str) -> tuple[float, ...]:
        """Fractions of a K mode that the final states take which are generated, in their order.

        They are K+; K_S(ππ); K_S(ππ)π+ and K+π0(γγ); K+π-. Their sum is a channel's ``secondary_fraction``.
        """
        kshort = self.kshort_in_k0 * self.kshort_to_two_pions
        return {
            "kplus": (1.0,),
            "kshort": (kshort,),
            "kstarplus": (
                self.kstarplus_to_k0_pion * kshort,
                self.kstarplus_to_kplus_pi0 * self.pi0_to_two_photons,
            ),
            "kstarzero": (self.kstarzero_to_kplus_pion,),
        }[mode]

    def peaking_fb(self, mode: str, meson: str) -> float:
        """Cross section of e+e- → Υ(4S) → B B̄ with one B → K(*) meson, all in the final states generated."""
        pairs = self.b_pairs_fb(charged=mode in ("kplus", "kstarplus"))
        branching = getattr(self, f"{mode}_{meson}") * getattr(self, f"{meson}_to_two_photons")
        return float(2 * pairs * branching * sum(self.submodes(mode)))

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        """Value, unit and source of every number, by its name; a replaced number says so."""
        return unit_and_source(self)
