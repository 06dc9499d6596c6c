"""Settings of the toy simulation: beams, detector, preselection, generator cuts and cross sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from darksieve.datasets.beams import Beams
from darksieve.datasets.simulation.cross_sections import CrossSections
from darksieve.datasets.simulation.detector import Detector, Selection
from darksieve.errors import InputError, nearest


@dataclass(frozen=True)
class GeneratorCuts:
    """Cuts on every true photon of QED events, and on the radiated photon of γω, in the CMS.

    The defaults lie outside what the default preselection can see of Belle II's and Belle's calorimeters, by
    five resolutions in energy and in angle.
    """

    min_energy: float = 0.46
    min_cos_theta: float = -0.96
    max_cos_theta: float = 0.976


@dataclass(frozen=True)
class SimulationSettings:
    """Everything but the seed and the size that decides what a sample contains.

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
        if self.generator.min_energy > smeared:
            raise InputError(
                f"generator.min_energy is {self.generator.min_energy} GeV, but photons down to "
                f"{smeared:.3f} GeV pass selection.min_energy_cms {threshold}; "
                "lower the one or raise the other"
            )

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
        is_text = isinstance(known[name].default, str)
        if (
            is_text != isinstance(value, str)
            or not isinstance(value, str | int | float)
            or isinstance(value, bool)
        ):
            raise InputError(f"{place}.{name} is {value!r}; it is a {'word' if is_text else 'number'}")
        arguments[name] = value if is_text else float(value)
    return kind(**arguments)
