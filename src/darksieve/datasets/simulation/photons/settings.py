"""Settings of the photon searches: beams, detector, preselection, generator cuts and cross sections."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.photons.cross_sections import CrossSections
from darksieve.datasets.simulation.photons.detector import Detector, Selection
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError


@dataclass(frozen=True)
class GeneratorCuts:
    """Cuts on every true photon of QED events, and on the radiated photon of γω, in the CMS.

    What is None is worked out by ``PhotonSettings``: the energy five resolutions below the
    preselection's, the angles as far as the calorimeter sees for any azimuth.
    """

    min_energy: float | None = None
    min_cos_theta: float | None = None
    max_cos_theta: float | None = None


_STEEPEST_COSINE = 0.9995  # the matrix element diverges at 1, where a calorimeter without a hole would reach


def _visible_cosines(beams: Beams, detector: Detector) -> tuple[float, float]:
    """Smallest and largest CMS cosine that lies in the calorimeter for some azimuth."""
    start, end = np.radians(detector.forward_start_deg), np.radians(detector.backward_end_deg)
    theta, phi = np.meshgrid(np.linspace(start, end, 361), np.linspace(-np.pi, np.pi, 361), indexing="ij")
    photon = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta), np.ones_like(theta)],
        axis=-1,
    )
    in_cms = beams.to_cms(photon)
    cosine = in_cms[..., 2] / in_cms[..., 3]
    beyond = 1e-4  # the grid's own error at the edges is far below it
    return (
        max(float(cosine.min()) - beyond, -_STEEPEST_COSINE),
        min(float(cosine.max()) + beyond, _STEEPEST_COSINE),
    )


@dataclass(frozen=True)
class PhotonSettings(Settings):
    """Everything but the seed and the size that decides what a sample contains.

    Generator cuts that were left open are filled in, so they are always numbers here.

    Raises:
        InputError: If the generator's energy cut is so high that it would bite into the preselection.
    """

    detector: Detector = field(default_factory=Detector)
    selection: Selection = field(default_factory=Selection)
    generator: GeneratorCuts = field(default_factory=GeneratorCuts)
    cross_sections: CrossSections = field(default_factory=CrossSections)

    def __post_init__(self) -> None:
        threshold = self.selection.min_energy_cms
        smeared = threshold / (1 + 5 * float(self.detector.energy_resolution(threshold)))
        low, high = _visible_cosines(self.beams, self.detector)
        given = self.generator
        if given.min_energy is not None and given.min_energy > smeared:
            raise InputError(
                f"generator.min_energy is {given.min_energy} GeV, but photons down to {smeared:.3f} GeV pass "
                f"selection.min_energy_cms {threshold}; lower the one or raise the other"
            )
        cuts = GeneratorCuts(
            smeared if given.min_energy is None else given.min_energy,
            low if given.min_cos_theta is None else given.min_cos_theta,
            high if given.max_cos_theta is None else given.max_cos_theta,
        )
        object.__setattr__(self, "generator", cuts)

    @property
    def generator_cuts(self) -> tuple[float, float, float]:
        """Smallest energy in GeV, smallest and largest cos θ in the CMS."""
        cuts = self.generator
        assert cuts.min_energy is not None
        assert cuts.min_cos_theta is not None
        assert cuts.max_cos_theta is not None
        return cuts.min_energy, cuts.min_cos_theta, cuts.max_cos_theta

    def unit_and_source(self) -> dict[str, dict[str, float | str]]:
        return self.cross_sections.unit_and_source()
