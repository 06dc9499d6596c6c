"""SampleRequest: what sample is wanted, checked before any event is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.plans import EVENT_STRIDE, BackgroundPlan, Plan, PseudoDataPlan, SignalPlan
from darksieve.datasets.simulation.processes import (
    PROCESSES,
    SIGNAL,
    Process,
    background_sources,
    process_named,
)
from darksieve.datasets.simulation.settings import SimulationSettings
from darksieve.datasets.simulation.sources import ALP_PDG, ResonanceSource
from darksieve.errors import InputError

_MAX_EVENTS = 2**32 - 2  # event numbers are 32 bits wide and start at 1


@dataclass(frozen=True)
class Injection:
    """A signal hidden in pseudo-data: its mass in GeV, its cross section in fb in the full solid angle."""

    mass: float
    cross_section_fb: float


@dataclass(frozen=True)
class PlannedSample:
    """A plan of blocks, and what the finished sample stands for (see ``SampleRecord``)."""

    plan: Plan
    n_expected: int
    cross_section_fb: float | None = None
    cross_section_error_fb: float | None = None
    luminosity_fb: float | None = None


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{what} is {value!r}; it is a finite number")
    return float(value)


def _count(value: Any, what: str, smallest: int = 1, largest: int = _MAX_EVENTS) -> int:
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
        masses: Signal at these masses in GeV: events to generate at each.
        mass_range: Signal flat in mass between these, GeV.
        inject: A signal in pseudo-data.
        settings: All physics settings.
        seed: Any integer of at least 0.

    Raises:
        InputError: If the values do not fit the process or each other.
    """

    process: str
    n_events: int | None = None
    luminosity_fb: float | None = None
    masses: Mapping[float, int] | None = None
    mass_range: tuple[float, float] | None = None
    inject: Injection | None = None
    settings: SimulationSettings = field(default_factory=SimulationSettings)
    seed: int = 1

    def __post_init__(self) -> None:
        name, role = self.process, self.chosen.role
        _count(self.seed, f"{name}: seed", smallest=0, largest=2**128 - 1)
        if self.n_events is not None:
            _count(self.n_events, f"{name}: n_events")
        if self.luminosity_fb is not None and _number(self.luminosity_fb, f"{name}: luminosity_fb") <= 0:
            raise InputError(f"{name}: luminosity_fb is {self.luminosity_fb}; it is positive")
        if role is not Role.SIGNAL and (self.masses is not None or self.mass_range is not None):
            raise InputError(f"{name}: masses and mass_range belong to {SIGNAL}")
        if role is not Role.DATA and self.inject is not None:
            raise InputError(f"{name}: a signal can be injected into pseudo-data only")
        if role is Role.SIGNAL:
            self._check_signal()
        elif role is Role.DATA:
            if self.luminosity_fb is None or self.n_events is not None:
                raise InputError(f"{name}: pseudo-data takes luminosity_fb, not n_events")
            if self.inject is not None:
                self._check_mass(self.inject.mass, "inject.mass")
                if _number(self.inject.cross_section_fb, "inject.cross_section_fb") < 0:
                    raise InputError(
                        f"inject.cross_section_fb is {self.inject.cross_section_fb}; it is at least 0"
                    )
        elif (self.n_events is None) == (self.luminosity_fb is None):
            raise InputError(f"{name}: give either n_events or luminosity_fb")

    @property
    def chosen(self) -> Process:
        """The process of that name."""
        return process_named(self.process)

    def _check_mass(self, mass: Any, what: str) -> None:
        sqrt_s = self.settings.beams.sqrt_s
        if not 0 < _number(mass, what) < sqrt_s:
            raise InputError(f"{what} is {mass} GeV; it lies in 0 to {sqrt_s:.3f} GeV (√s)")

    def _check_signal(self) -> None:
        name = self.process
        if self.luminosity_fb is not None:
            raise InputError(f"{name}: a signal has no luminosity; give n_events")
        if (self.masses is None) == (self.mass_range is None):
            raise InputError(f"{name}: give either masses (events per mass) or mass_range (flat)")
        if self.masses is not None:
            if self.n_events is not None:
                raise InputError(f"{name}: masses hold the number of events of each mass; leave n_events out")
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
        if self.n_events is None:
            raise InputError(f"{name}: mass_range needs n_events")

    def plan(self) -> PlannedSample:
        """The plan of the sample; the first one of QED events surveys the cross section, half a second.

        Raises:
            InputError: If the process has no rate with these settings, or the sample is too large.
        """
        role = self.chosen.role
        if role is Role.SIGNAL:
            return self._plan_signal()
        if role is Role.DATA:
            return self._plan_pseudo_data()
        return self._plan_background()

    def _plan_signal(self) -> PlannedSample:
        discrete = tuple((float(mass), int(n)) for mass, n in (self.masses or {}).items())
        n = self.n_events if self.n_events is not None else sum(number for _, number in discrete)
        edges = None if self.mass_range is None else (float(self.mass_range[0]), float(self.mass_range[1]))
        plan = SignalPlan(self.chosen.production, self.settings, self.seed, n, discrete, edges)
        return PlannedSample(plan, n)

    def _plan_background(self) -> PlannedSample:
        assert self.chosen.source is not None
        source = self.chosen.source(self.settings)
        cross_section = source.cross_section_fb
        if cross_section <= 0:
            raise InputError(f"{self.process}: its cross section is {cross_section} fb with these settings")
        n = self.n_events
        if n is None:
            assert self.luminosity_fb is not None
            n = max(1, round(cross_section * self.luminosity_fb))
            _count(n, f"{self.process}: the number of events of {self.luminosity_fb}/fb")
        plan = BackgroundPlan(source, self.chosen.production, self.settings, self.seed, n)
        return PlannedSample(plan, n, cross_section, source.cross_section_error_fb, n / cross_section)

    def _plan_pseudo_data(self) -> PlannedSample:
        assert self.luminosity_fb is not None
        sources = list(background_sources(self.settings).items())
        if self.inject is not None:
            signal = ResonanceSource(
                self.settings.beams.sqrt_s, self.inject.mass, ALP_PDG, self.inject.cross_section_fb
            )
            sources.append((SIGNAL, signal))
        numbered = tuple((PROCESSES[name].production, source) for name, source in sources)
        plan = PseudoDataPlan(
            numbered, self.chosen.production, self.settings, self.seed, float(self.luminosity_fb)
        )
        if plan.n_blocks * EVENT_STRIDE > _MAX_EVENTS:
            raise InputError(
                f"{self.process}: {self.luminosity_fb}/fb are {plan.n_expected:.0f} events, more than event "
                "numbers allow; make several samples with different seeds"
            )
        return PlannedSample(plan, round(plan.n_expected), luminosity_fb=plan.luminosity_fb)
