"""SampleRequest: what sample is wanted, checked before any event is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.plans import MAX_EVENTS, MassSpectrum, PlannedSample
from darksieve.datasets.simulation.process import Process
from darksieve.datasets.simulation.processes import process_named
from darksieve.datasets.simulation.settings import Settings
from darksieve.errors import InputError


@dataclass(frozen=True)
class Injection:
    """A signal hidden in pseudo-data: its mass in GeV, its cross section in fb in the full solid angle."""

    mass: float
    cross_section_fb: float


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{what} is {value!r}; it is a finite number")
    return float(value)


def _count(value: Any, what: str, smallest: int = 1, largest: int = MAX_EVENTS) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not smallest <= value <= largest:
        raise InputError(f"{what} is {value!r}; it is a whole number from {smallest} to {largest}")
    return int(value)


@dataclass(frozen=True)
class SampleRequest:
    """A process, how much of it, with which settings and seed.

    Attributes:
        process: A name of ``PROCESSES``.
        n_events: Events to generate, before the preselection (backgrounds, flat signal).
        luminosity_fb: Instead, the luminosity to generate (backgrounds; pseudo-data, which needs it).
        n_candidates: Instead, candidates wanted (backgrounds, flat signal): whole blocks are generated, in
            order, until there are as many.
        masses: Signal at these masses in GeV: events to generate at each.
        mass_range: Signal flat in mass between these, GeV.
        inject: A signal in pseudo-data.
        settings: Physics settings of the process's class; None for the defaults, which are put in.
        seed: Any integer of at least 0.

    Raises:
        InputError: If the values do not fit the process or each other.
    """

    process: str
    n_events: int | None = None
    luminosity_fb: float | None = None
    n_candidates: int | None = None
    masses: Mapping[float, int] | None = None
    mass_range: tuple[float, float] | None = None
    inject: Injection | None = None
    settings: Settings | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        name, role = self.process, self.chosen.role
        if self.settings is None:
            object.__setattr__(self, "settings", self.chosen.settings())
        if not isinstance(self.settings, self.chosen.settings):
            raise InputError(
                f"{name}: its settings are {self.chosen.settings.__name__}, not "
                f"{type(self.settings).__name__}"
            )
        _count(self.seed, f"{name}: seed", smallest=0, largest=2**128 - 1)
        if self.n_events is not None:
            _count(self.n_events, f"{name}: n_events")
        if self.n_candidates is not None:
            _count(self.n_candidates, f"{name}: n_candidates")
        if self.luminosity_fb is not None and _number(self.luminosity_fb, f"{name}: luminosity_fb") <= 0:
            raise InputError(f"{name}: luminosity_fb is {self.luminosity_fb}; it is positive")
        if role is not Role.SIGNAL and (self.masses is not None or self.mass_range is not None):
            raise InputError(f"{name}: masses and mass_range belong to a signal")
        if role is not Role.DATA and self.inject is not None:
            raise InputError(f"{name}: a signal can be injected into pseudo-data only")
        if role is Role.SIGNAL:
            self._check_signal()
        elif role is Role.DATA:
            if self.luminosity_fb is None or self.n_events is not None or self.n_candidates is not None:
                raise InputError(f"{name}: pseudo-data takes luminosity_fb, not n_events or n_candidates")
            if self.inject is not None:
                self._check_mass(self.inject.mass, "inject.mass")
                if _number(self.inject.cross_section_fb, "inject.cross_section_fb") < 0:
                    raise InputError(
                        f"inject.cross_section_fb is {self.inject.cross_section_fb}; it is at least 0"
                    )
        elif [self.n_events, self.luminosity_fb, self.n_candidates].count(None) != 2:
            raise InputError(f"{name}: give either n_events, luminosity_fb or n_candidates")

    @property
    def chosen(self) -> Process:
        """The process of that name."""
        return process_named(self.process)

    def _check_mass(self, mass: Any, what: str) -> None:
        assert self.chosen.largest_mass is not None
        largest = self.chosen.largest_mass(self.settings)
        if not 0 < _number(mass, what) < largest:
            raise InputError(f"{what} is {mass} GeV; it lies in 0 to {largest:.3f} GeV")

    def _check_signal(self) -> None:
        name = self.process
        if self.luminosity_fb is not None:
            raise InputError(f"{name}: a signal has no luminosity; give n_events")
        if (self.masses is None) == (self.mass_range is None):
            raise InputError(f"{name}: give either masses (events per mass) or mass_range (flat)")
        if self.masses is not None:
            for key in ("n_events", "n_candidates"):
                if getattr(self, key) is not None:
                    raise InputError(f"{name}: masses hold the number of events of each; leave {key} out")
            if not isinstance(self.masses, Mapping) or not self.masses:
                raise InputError(
                    f"{name}: masses is {self.masses!r}; it maps masses in GeV to numbers of events"
                )
            for mass, n in self.masses.items():
                self._check_mass(mass, f"{name}: a mass")
                _count(n, f"{name}: the number of events at {mass} GeV")
            _count(sum(self.masses.values()), f"{name}: the number of events of all masses")
            return
        edges = self.mass_range
        if not isinstance(edges, tuple | list) or len(edges) != 2:
            raise InputError(f"{name}: mass_range is {edges!r}; it is two masses in GeV")
        for edge in edges:
            self._check_mass(edge, f"{name}: an edge of mass_range")
        if not edges[0] < edges[1]:
            raise InputError(f"{name}: mass_range is {edges[0]} to {edges[1]} GeV; it rises")
        if (self.n_events is None) == (self.n_candidates is None):
            raise InputError(f"{name}: mass_range needs n_events or n_candidates")

    def plan(self) -> PlannedSample:
        """The plan of the sample; the first one of QED events surveys the cross section, half a second.

        Raises:
            InputError: If the process has no rate with these settings, or the sample is too large.
        """
        return self.chosen.plan(self)

    def n_background(self, cross_section_fb: float) -> int | None:
        """Events to generate of a background of that cross section; None for enough candidates.

        Raises:
            InputError: If there is no rate, or more events than can be numbered.
        """
        if cross_section_fb <= 0:
            raise InputError(
                f"{self.process}: its cross section is {cross_section_fb} fb with these settings"
            )
        if self.luminosity_fb is None:
            return self.n_events
        n = max(1, round(cross_section_fb * self.luminosity_fb))
        return _count(n, f"{self.process}: the number of events of {self.luminosity_fb}/fb")

    @property
    def spectrum(self) -> MassSpectrum:
        """Masses of a signal."""
        return MassSpectrum.of(self.masses, self.mass_range)

    @property
    def n_signal(self) -> int | None:
        """Events of a signal to generate; None for enough candidates."""
        return self.spectrum.n_events if self.masses is not None else self.n_events
