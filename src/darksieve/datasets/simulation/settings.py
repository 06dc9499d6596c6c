"""Settings of the toy simulation: beams, detector, preselection, generator cuts and cross sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.cross_sections import CrossSections
from darksieve.datasets.simulation.detector import Detector, Selection
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class GeneratorCuts:
    """Cuts on every true photon of QED events, and on the radiated photon of γω, in the CMS.

    What is None is worked out by ``SimulationSettings``: the energy five resolutions below the
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
class SimulationSettings:
    """Everything but the seed and the size that decides what a sample contains.

    Generator cuts that were left open are filled in, so they are always numbers here.

    Raises:
        InputError: If the generator's energy cut is so high that it would bite into the preselection.
    """

    beams: Beams = field(default_factory=lambda: Beams.named("belle2"))
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

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], place: str = "settings") -> SimulationSettings:
        """Settings from a config's mapping; what is absent has its default.

        Args:
            values: ``beams`` (a name or numbers), ``detector``, ``selection``, ``generator`` and
                ``cross_sections``, each a mapping of the class's attributes.
            place: Where the mapping stands in the config, for messages.

        Raises:
            InputError: If a key is not known, or a value is not of the right kind or range.
        """
        parts: dict[str, type] = {
            "detector": Detector,
            "selection": Selection,
            "generator": GeneratorCuts,
            "cross_sections": CrossSections,
        }
        known = ["beams", *parts]
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if name == "beams":
                arguments[name] = Beams.parse(value)
            elif name in parts:
                arguments[name] = _part(parts[name], value, f"{place}.{name}")
            else:
                raise InputError(f"{place}.{name}: unknown key{nearest(name, known)}")
        return cls(**arguments)

    def to_mapping(self) -> dict[str, Any]:
        """The same as plain numbers and strings: :meth:`from_mapping` gives equal settings back."""
        return asdict(self)


def _part(kind: type, values: Any, place: str) -> Any:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise InputError(f"{place} is {values!r}; it is a mapping")
    known = {item.name: item for item in fields(kind)}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{place}.{name}: unknown key{nearest(name, known)}")
        if value is None and known[name].default is None:
            continue
        is_text = isinstance(known[name].default, str)
        if (
            is_text != isinstance(value, str)
            or not isinstance(value, str | int | float)
            or isinstance(value, bool)
        ):
            raise InputError(f"{place}.{name} is {value!r}; it is a {'word' if is_text else 'number'}")
        arguments[name] = value if is_text else float(value)
    return kind(**arguments)
