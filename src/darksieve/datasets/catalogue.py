"""The sample catalogue: which files, what they are, and what one of their events is worth."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.events import Role, SampleInfo
from darksieve.datasets.expressions import Expression
from darksieve.errors import InputError

POLICIES = {
    "non_finite": ("error", "drop", "keep"),
    "negative_weights": ("error", "drop", "keep", "rescale"),
}
MASS_TOLERANCE = 5e-4  # GeV: a generated mass this close to a listed one is that one (float32, natural width)


def expand_files(patterns: Iterable[str | Path], place: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Files that match the patterns, sorted, each once.

    Args:
        patterns: Paths or globs (``*``, ``?``, ``**``).
        place: What they are for, for messages.
        folder: What relative patterns are relative to; the working directory if None.

    Raises:
        InputError: If a pattern matches nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        path = Path(pattern).expanduser()
        path = path if path.is_absolute() or folder is None else folder / path
        if path.exists():
            matches = [path]
        elif glob.has_magic(str(path)):
            matches = [Path(name) for name in glob.glob(str(path), recursive=True)]
            if not matches:
                raise InputError(f"{place}: no file matches {str(pattern)!r} (looked in {path.parent})")
        else:
            raise InputError(f"{place}: there is no file {str(path)!r}")
        folders = [match for match in matches if match.is_dir()]
        if folders:
            raise InputError(
                f"{place}: {str(folders[0])!r} is a folder; name its files, for instance with *.root"
            )
        found.update(matches)
    if not found:
        raise InputError(f"{place}: no files are named")
    return tuple(sorted(found))


@dataclass(frozen=True)
class Sample:
    """One sample: its files, what they are, and what makes the weight of their events.

    Attributes:
        name: Its name.
        role: Signal, background, data or control. A control sample with weight information is simulation,
            weighted as background; without it, data.
        files: Paths or globs; kept expanded and sorted.
        tree: Name of the TTree.
        select: Expression over branches that its rows must pass, before candidates are built; None for all.
        luminosity_fb: Integrated luminosity that the sample amounts to, in 1/fb.
        cross_section_fb: Cross section, in fb; with ``n_generated`` another way to say ``luminosity_fb``.
        n_generated: Generated events, before any acceptance or selection; for discrete masses {mass: events}.
        mass: Generated mass of a signal: a branch, or a number in GeV.
        mass_range: Interval in GeV over which a sample with a mass branch was generated uniformly.
        weight: Branch that multiplies the weight. For generators whose events are not all alike its mean
            over all generated events must be 1; a probability that belongs to the efficiency, as that of a
            hadronic tag, stays as it is.
        non_finite: What to do with rows that have NaN or infinity in a wanted column: error, drop or keep.
        negative_weights: What to do with rows of negative weight: error, drop, keep, or rescale (|w| for all,
            times what keeps the sample's total).
        process: What tables and pictures call it; by default its name.
        period: Data-taking period that it belongs to; None where there is only one.
        folder: What relative files are relative to; None for the working directory.

    Raises:
        InputError: If no file matches, or the weight of its events cannot be known.
    """

    name: str
    role: Role
    files: tuple[Path, ...]
    tree: str = "ntuple"
    select: str | None = None
    luminosity_fb: float | None = None
    cross_section_fb: float | None = None
    n_generated: float | Mapping[float, float] | None = None
    mass: str | float | None = None
    mass_range: tuple[float, float] | None = None
    weight: str | None = None
    non_finite: str = "error"
    negative_weights: str = "error"
    process: str = ""
    period: str | None = None
    folder: Path | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        try:
            put(self, "role", Role(self.role))
        except ValueError:
            raise InputError(
                f"samples.{self.name}.role is {self.role!r}; it is one of {[role.value for role in Role]}"
            ) from None
        files = [self.files] if isinstance(self.files, str | Path) else self.files
        put(self, "files", expand_files(files, f"samples.{self.name}.files", self.folder))
        if self.select is not None:
            try:
                Expression(self.select)
            except InputError as error:
                raise InputError(f"samples.{self.name}.select: {error}") from None
        for key in ("non_finite", "negative_weights"):
            if getattr(self, key) not in POLICIES[key]:
                raise self._error(key, f"{getattr(self, key)!r}; it is one of {list(POLICIES[key])}")
        for key in ("luminosity_fb", "cross_section_fb"):
            value = getattr(self, key)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise self._error(key, f"{value}: it is a positive number")
        if isinstance(self.n_generated, Mapping):
            by_mass = {float(mass): float(n) for mass, n in sorted(self.n_generated.items())}
            put(self, "n_generated", by_mass)
            masses = np.array(list(by_mass))
            if not len(masses):
                raise self._error("n_generated", "empty: give the generated events, or {mass: events}")
            if not (np.isfinite(masses).all() and masses.min() >= 0):
                raise self._error("n_generated", f"{by_mass}: its keys are masses in GeV")
            if len(masses) > 1 and np.diff(masses).min() <= 2 * MASS_TOLERANCE:
                raise self._error("n_generated", f"{by_mass}: masses closer than 1 MeV cannot be told apart")
            wrong = [n for n in by_mass.values() if not (np.isfinite(n) and n > 0)]
        else:
            wrong = [n for n in [self.n_generated] if n is not None and not (np.isfinite(float(n)) and n > 0)]
        if wrong:
            raise self._error("n_generated", f"{wrong[0]}: it is a positive number of events")
        if self.mass_range is not None:
            low, high = (float(edge) for edge in self.mass_range)
            if not (np.isfinite(high) and 0 <= low < high):
                raise self._error("mass_range", f"{self.mass_range}: it is [low, high] in GeV")
            put(self, "mass_range", (low, high))
        {
            Role.SIGNAL: self._check_signal,
            Role.BACKGROUND: self._check_background,
            Role.DATA: self._check_data,
            Role.CONTROL: self._check_control,
        }[self.role]()

    def _error(self, key: str, what: str) -> InputError:
        return InputError(f"samples.{self.name}.{key} is {what}")

    def _check_signal(self) -> None:
        if self.n_generated is None:
            raise InputError(
                f"samples.{self.name}: a signal needs n_generated (events, or {{mass: events}}), "
                "since efficiencies are absolute"
            )
        if self.mass is None:
            raise InputError(f"samples.{self.name}: a signal needs mass, a branch or a number in GeV")
        if isinstance(self.mass, str):
            if not isinstance(self.n_generated, Mapping) and self.mass_range is None:
                raise InputError(
                    f"samples.{self.name}: with the mass in branch {self.mass!r}, either mass_range "
                    "(generated uniformly over it) or n_generated as {mass: events} is needed"
                )
            if isinstance(self.n_generated, Mapping) and self.mass_range is not None:
                raise InputError(
                    f"samples.{self.name}: mass_range (a flat sample) and n_generated per mass (discrete "
                    "masses) exclude each other"
                )
            return
        if not (np.isfinite(self.mass) and self.mass >= 0):
            raise self._error("mass", f"{self.mass}: it is a branch or a number in GeV")
        if self.mass_range is not None:
            raise InputError(f"samples.{self.name}: mass_range needs mass to be a branch, it is {self.mass}")
        if isinstance(self.n_generated, Mapping) and _listed_mass(self.mass, self.n_generated) is None:
            raise self._error(
                "n_generated", f"without the sample's mass {self.mass}: {dict(self.n_generated)}"
            )

    def _check_background(self) -> None:
        if isinstance(self.n_generated, Mapping) or self.mass_range is not None or self.mass is not None:
            raise InputError(f"samples.{self.name}: generated masses belong to a signal")
        from_generator = None
        if self.cross_section_fb is not None and self.n_generated is not None:
            from_generator = float(self.n_generated) / self.cross_section_fb
        if self.luminosity_fb is None and from_generator is None:
            raise InputError(
                f"samples.{self.name}: no weight information; give luminosity_fb, or cross_section_fb "
                "and n_generated"
            )
        if self.luminosity_fb is None or from_generator is None:
            return
        if not np.isclose(self.luminosity_fb, from_generator, rtol=1e-3):
            raise InputError(
                f"samples.{self.name}: luminosity_fb is {self.luminosity_fb}, but n_generated / "
                f"cross_section_fb is {from_generator:.6g}; give one of them"
            )

    def _check_data(self) -> None:
        for key in ("cross_section_fb", "n_generated", "mass", "mass_range", "weight"):
            if getattr(self, key) is not None:
                raise InputError(f"samples.{self.name}.{key}: data has none; its events count one each")

    def _check_control(self) -> None:
        has_weight = any(
            value is not None for value in (self.luminosity_fb, self.cross_section_fb, self.n_generated)
        )
        if has_weight:
            self._check_background()
        else:
            self._check_data()

    @property
    def info(self) -> SampleInfo:
        """Name, role, process and period."""
        return SampleInfo(self.name, self.role, self.process, self.period)

    @property
    def equivalent_luminosity_fb(self) -> float | None:
        """Luminosity that simulated background or control amounts to, in 1/fb; None for signal and data."""
        if self.role not in (Role.BACKGROUND, Role.CONTROL):
            return None
        if self.luminosity_fb is not None:
            return self.luminosity_fb
        if self.cross_section_fb is None:
            return None  # a control sample of data
        assert isinstance(self.n_generated, int | float)
        return float(self.n_generated) / self.cross_section_fb

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches that the sample itself needs: of its selection, mass and weight."""
        selected = Expression(self.select).branches if self.select is not None else ()
        own = [name for name in (self.mass, self.weight) if isinstance(name, str)]
        return tuple(dict.fromkeys([*selected, *own]))

    def masses_and_weights(
        self,
        n_rows: int,
        luminosity_fb: float,
        mass: NDArray | None = None,
        factor: NDArray | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Generated mass (NaN where there is none) and weight of each row.

        Background, simulated control: expected data events at ``luminosity_fb``. Signal: 1 over the number
        generated per GeV (flat) or at that mass (discrete). Data: 1.

        Args:
            n_rows: Number of rows, n.
            luminosity_fb: The search's luminosity, in 1/fb.
            mass: Values of the mass branch, shape (n,), where the sample's mass is one.
            factor: Values of the weight branch, shape (n,), where the sample has one.

        Returns:
            Masses in GeV and weights, each of shape (n,). A discrete mass is the listed one exactly.

        Raises:
            InputError: If a generated mass is not finite, not listed, or outside ``mass_range``.
        """
        masses = np.full(n_rows, np.nan)
        weights = np.ones(n_rows)
        equivalent = self.equivalent_luminosity_fb
        if equivalent is not None:
            weights *= luminosity_fb / equivalent
        elif self.role is Role.SIGNAL:
            masses, weights = self._signal_masses_and_weights(n_rows, mass)
        if factor is not None:
            weights = weights * np.asarray(factor, dtype=np.float64)
        return masses, weights

    def _signal_masses_and_weights(
        self, n_rows: int, mass: NDArray | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n_generated = self.n_generated
        assert n_generated is not None
        if not isinstance(self.mass, str):
            assert self.mass is not None
            one = float(self.mass)
            if isinstance(n_generated, Mapping):
                listed = _listed_mass(one, n_generated)
                assert listed is not None
                one, n_one = listed, n_generated[listed]
            else:
                n_one = n_generated
            return np.full(n_rows, one), np.full(n_rows, 1 / float(n_one))
        if mass is None:
            raise ValueError(f"sample {self.name!r} has its mass in a branch: its values are needed")
        masses = np.asarray(mass, dtype=np.float64)
        if not np.isfinite(masses).all():
            n_bad = int((~np.isfinite(masses)).sum())
            raise InputError(
                f"samples.{self.name}.mass: branch {self.mass!r} has {n_bad} values that are no number"
            )
        if isinstance(n_generated, Mapping):
            listed_masses = np.array(list(n_generated))
            middles = (listed_masses[1:] + listed_masses[:-1]) / 2
            index = np.searchsorted(middles, masses)
            far = np.abs(masses - listed_masses[index]) > MASS_TOLERANCE
            if far.any():
                raise InputError(
                    f"samples.{self.name}.n_generated lists no mass {masses[far][0]:.6g} GeV, which branch "
                    f"{self.mass!r} has in {int(far.sum())} rows; it lists {listed_masses.tolist()}"
                )
            return listed_masses[index], 1 / np.array(list(n_generated.values()))[index]
        assert self.mass_range is not None
        low, high = self.mass_range
        outside = (masses < low - MASS_TOLERANCE) | (masses > high + MASS_TOLERANCE)
        if outside.any():
            raise InputError(
                f"samples.{self.name}.mass_range is [{low}, {high}], but branch {self.mass!r} has "
                f"{int(outside.sum())} rows outside it, the first at {masses[outside][0]:.6g} GeV"
            )
        return masses, np.full(n_rows, (high - low) / float(n_generated))


def _listed_mass(mass: float, n_generated: Mapping[float, float]) -> float | None:
    return next((listed for listed in n_generated if abs(listed - mass) <= MASS_TOLERANCE), None)
