"""The config of a search: one typed model per stage, unknown keys refused, units in the keys.

The keys and their meaning are fixed (docs/config.md); ``config_loading.load_config`` reads one.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from darksieve.config_candidates import CandidatesConfig, PeriodConfig
from darksieve.config_peaks import PeaksConfig
from darksieve.config_types import (
    CustomBeams,
    Fraction,
    Hadron,
    Interval,
    Name,
    NonNegative,
    Positive,
    Section,
)
from darksieve.errors import nearest


class SampleConfig(Section):
    """One sample: files of the user's own, or events of a packaged generator.

    ``n_generated`` counts generated events: of a background with ``cross_section_fb``, of a signal at all
    masses (flat in ``mass_range``), or at each simulated mass. A control sample is scored and compared, and
    takes part in nothing else.
    """

    role: Literal["signal", "background", "data", "control"]
    process: Name | None = None
    period: Name | None = None
    files: list[str] | None = None
    simulate: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    tree: str = "ntuple"
    select: str | None = None
    luminosity_fb: Positive | None = None
    cross_section_fb: Positive | None = None
    n_generated: Annotated[int, Field(gt=0)] | dict[float, Annotated[int, Field(gt=0)]] | None = None
    mass: float | str | None = None
    mass_range: Interval | None = None
    weight: str | None = None
    peaking: bool | PeaksConfig = False
    non_finite: Literal["error", "drop", "keep"] = "error"
    negative_weights: Literal["error", "drop", "keep", "rescale"] = "error"

    @model_validator(mode="after")
    def _one_source(self) -> SampleConfig:
        if (self.files is None) == (self.simulate is None):
            raise ValueError("give either files: [...] or simulate: NAME")
        if self.settings and self.simulate is None:
            raise ValueError("settings belong to simulate: NAME; this sample has files")
        if self.peaking and self.role != "background":
            raise ValueError(f"peaking is for backgrounds; the role of this sample is {self.role}")
        return self

    @property
    def peaks(self) -> PeaksConfig | None:
        """Its peaks where it has several."""
        return self.peaking if isinstance(self.peaking, PeaksConfig) else None


class CorrectionConfig(Section):
    """A table of factors on the weights of simulated events, with its covariance (docs/corrections.md).

    It is for the ``samples`` that are named, or for all of the ``roles``. With ``objects`` each of them is
    corrected in turn: they replace ``{object}`` in the table's branches. ``keep`` is the least fraction of
    the variance that its eigen-variations make up.
    """

    file: str
    samples: Annotated[list[str], Field(min_length=1)] | None = None
    roles: Annotated[list[Literal["signal", "background"]], Field(min_length=1)] = Field(
        default=["signal", "background"]
    )
    objects: list[str] = Field(default_factory=list)
    keep: Fraction = 0.99


class BackgroundConfig(Section):
    """The smooth background of a window; a list of families in ``family`` is not accepted here."""

    family: Literal["chebyshev", "bernstein", "exponential", "power"] = "chebyshev"
    order: Annotated[int, Field(ge=0, le=6)] = 3
    window_sigma: Positive = 20.0


class ChannelConfig(Section):
    """One channel of the fit: its selection, and where it differs from the scan."""

    select: str | None = None
    period: Name | None = None
    n_parents: Positive | None = None
    secondary_fraction: Fraction = 1.0
    hadron: Hadron | None = None
    range: Interval | None = None
    observable: str | None = None
    background: BackgroundConfig | None = None


class DecorrelationConfig(Section):
    """What is done about the variables in ``decorrelate``; see ``darksieve.training.decorrelation``."""

    method: Literal["planing", "penalty", "dropping", "none"] = "planing"
    strength: NonNegative = 3.0
    threshold: Fraction = 0.1


class ClassifierConfig(Section):
    """A classifier and how it is trained; ``options`` are the model's own.

    Several are applied in order. ``samples``, ``select`` and the gates of the earlier ones (which a share
    ``lets_through`` of the signal passes) say what one learns from; ``channels`` what it scores.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    model: Literal["bdt", "photon_network"]
    features: Annotated[list[str], Field(min_length=1)] | None = None
    matching: Literal["background_to_signal", "signal_to_background", "flat", "none"] = "background_to_signal"
    decorrelate: list[str] = Field(default_factory=list)
    decorrelation: DecorrelationConfig = DecorrelationConfig()
    calibrate: Literal["none", "isotonic", "sigmoid"] = "none"
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    max_rows: Annotated[int, Field(ge=1000)] | None = None
    samples: Annotated[list[str], Field(min_length=2)] | None = None
    select: str | None = None
    channels: Annotated[list[str], Field(min_length=1)] | None = None
    lets_through: Fraction = 0.95
    options: dict[str, Any] = Field(default_factory=dict)


class PreselectionConfig(Section):
    """A cut on a column, by mass, that is chosen together with those on the score.

    What is above or below the edge is kept. The edge lies between ``low`` and ``high``; without an end on its
    open side there may be no cut.
    """

    keep: Literal["above", "below"] = "above"
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> PreselectionConfig:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low has to lie below high")
        return self


class WorkingPointsConfig(Section):
    """Where to cut, or how to split the score into categories that are fitted together.

    ``preselection`` names columns that are cut on before the score, with all cuts chosen together;
    ``rectangular`` names variables whose best cuts are compared with the classifier, and
    ``background_uncertainty`` is by how much the background moves to see how far choice and limit follow.
    """

    objective: str = "expected_limit"
    kind: Literal["categories", "threshold"] = "categories"
    n_categories: Annotated[int, Field(ge=1, le=10)] = 4
    folds: Annotated[int, Field(ge=2, le=10)] = 2
    min_effective_events: Positive = 400.0
    background_uncertainty: Annotated[float, Field(ge=0, lt=1)] = 0.1
    rectangular: Annotated[list[str], Field(max_length=6)] = Field(default_factory=list)
    preselection: Annotated[dict[str, PreselectionConfig], Field(max_length=6)] = Field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns that are kept beside the scores."""
        return tuple(dict.fromkeys([*self.rectangular, *self.preselection]))


class NamedNuisanceConfig(Section):
    """A relative uncertainty of the signal yield, one parameter in all of its channels (all by default).

    ``sizes``: of channels in which it is another than ``size``.
    """

    size: Positive
    channels: Annotated[list[str], Field(min_length=1)] | None = None
    sizes: dict[str, Positive] = Field(default_factory=dict)


class NuisancesConfig(Section):
    """Relative sizes of the systematic uncertainties; ``scale_sigma`` in units of the resolution.

    ``spurious_signal`` is relative to the background within ±2 resolutions, one for each channel of the fit;
    or ``measured``: at each mass what the fit finds in simulated background, where that is known well enough.
    """

    luminosity: NonNegative = 0.0
    efficiency: NonNegative = 0.0
    width: NonNegative = 0.0
    scale_sigma: NonNegative = 0.0
    spurious_signal: NonNegative | Literal["measured"] = 0.0
    peaking: NonNegative = 0.2
    named: dict[Name, NamedNuisanceConfig] = Field(default_factory=dict)


class ScanConfig(Section):
    """The mass hypotheses and the model that is fitted at each."""

    observable: str
    range: Interval
    step_sigma: Positive | None = None
    masses: Annotated[list[float], Field(min_length=1)] | None = None
    vetoes: list[Interval] = Field(default_factory=list)
    background: BackgroundConfig = BackgroundConfig()
    nuisances: NuisancesConfig = NuisancesConfig()
    method: Literal["auto", "asymptotic", "exact", "toys"] = "auto"
    bins_per_sigma: Annotated[int, Field(ge=1, le=60)] = 6
    toys: Annotated[int, Field(ge=100)] = 10000

    @model_validator(mode="after")
    def _grid(self) -> ScanConfig:
        if (self.step_sigma is None) == (self.masses is None):
            raise ValueError("give either step_sigma or masses")
        outside = [m for m in self.masses or [] if not self.range[0] <= m <= self.range[1]]
        if outside:
            raise ValueError(f"masses {outside} lie outside range {list(self.range)}")
        return self


class InjectConfig(Section):
    """A signal to inject into pseudo-data; the strength as itself or in expected limits."""

    mass: Positive
    times_expected_limit: Positive | None = None
    strength: Positive | None = None

    @model_validator(mode="after")
    def _one_strength(self) -> InjectConfig:
        if self.times_expected_limit is not None and self.strength is not None:
            raise ValueError("give either times_expected_limit or strength, not both")
        return self


class PseudoDataConfig(Section):
    """What stands in for data where there is none.

    Up to ``events_up_to_fb`` and where ``simulate`` names a generator, unweighted events of their own stream;
    above, Poisson draws from a smooth model of the simulated background. Either is labelled everywhere.
    """

    seed: Annotated[int, Field(ge=0)] = 1
    inject: InjectConfig | None = None
    simulate: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    events_up_to_fb: NonNegative = 20.0


class FitConfig(Section):
    """A fit of some channels alone, beside that of all: limits on a branching fraction."""

    channels: Annotated[list[str], Field(min_length=1)]


class InterpretationConfig(Section):
    """What the limit is quoted on; ``darksieve.couplings`` converts it from the linear parameter.

    For ``g_aW`` the linear parameter is the branching fraction of the first channel's decay, to which those
    of the other channels are tied by the coupling. ALPs that fly further than ``prompt_mm`` are marked; with
    ``fold_flight`` only those that decay within it count.
    """

    parameter: Literal["cross_section", "branching_fraction", "signal_events", "g_agammagamma", "g_aW"] = (
        "signal_events"
    )
    particle: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9']*$")] = "a"
    published: str | None = None
    published_range: str | None = None
    also: dict[Name, FitConfig] = Field(default_factory=dict)
    prompt_mm: Positive | None = None
    fold_flight: bool = False

    @model_validator(mode="after")
    def _flight(self) -> InterpretationConfig:
        if self.fold_flight and (self.prompt_mm is None or self.parameter != "g_aW"):
            raise ValueError("fold_flight needs prompt_mm and parameter: g_aW")
        return self


class SpaceConfig(Section):
    """Values of one option in a tuning: a range from ``low`` to ``high``, or ``choices``."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Annotated[list[Any], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SpaceConfig:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either choices, or low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low}, high is {self.high}: the first must be the smaller one")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.low}")
        return self


class TuningConfig(Section):
    """What ``darksieve tune`` varies: options of one classifier (the last by default), in so many trials."""

    classifier: str | None = None
    trials: Annotated[int, Field(ge=1)] = 20
    space: dict[str, SpaceConfig] = Field(default_factory=dict)
    max_rows: Annotated[int, Field(ge=1000)] | None = 100_000


class InterpolationConfig(Section):
    """Closure of the networks' interpolation in mass, a page of the report; absent: not measured.

    A network is trained on candidates within ``reach`` (GeV) of masses ``spacing`` (GeV) apart, and compared
    there, midway and beyond with the exact likelihood ratio, where it is known, or the search's own network.
    """

    spacing: Positive = 1.0
    reach: Positive = 0.08

    @model_validator(mode="after")
    def _gaps_between(self) -> InterpolationConfig:
        if not self.reach < self.spacing / 4:
            raise ValueError(
                f"reach is {self.reach:g} GeV; it must be below a quarter of spacing, {self.spacing:g} GeV,"
                " so that masses are left out"
            )
        return self


class TrackingConfig(Section):
    """MLflow: ``MLFLOW_TRACKING_URI`` or a SQLite file ``mlflow.db`` in the current folder."""

    enabled: bool = True
    uri: str | None = None


class MemoryConfig(Section):
    """Of more candidates than these, all samples together, the columns stay on disk while the run works.

    Trees are then fitted from blocks of rows, which changes the last digits of their scores.
    """

    max_candidates: Annotated[int, Field(ge=1000)] = 5_000_000


class CacheConfig(Section):
    """What was read or simulated is kept in ``folder``, ``DARKSIEVE_CACHE``, or the user's cache folder.

    ``DARKSIEVE_CACHE=off`` switches it off.
    """

    enabled: bool = True
    folder: str | None = None
    max_gb: Positive = 20.0


class SearchConfig(Section):
    """A whole search, from its files to its limit."""

    search: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    luminosity_fb: Positive
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 1
    beams: Literal["belle", "belle2"] | CustomBeams = "belle2"
    event_key: Annotated[list[str], Field(min_length=1)] = Field(
        default_factory=lambda: ["__experiment__", "__run__", "__event__", "__production__"]
    )
    never_features: list[str] = Field(default_factory=list)
    periods: dict[Name, PeriodConfig] = Field(default_factory=dict)
    samples: Annotated[dict[Name, SampleConfig], Field(min_length=1)]
    corrections: dict[Name, CorrectionConfig] = Field(default_factory=dict)
    pseudo_data: PseudoDataConfig = PseudoDataConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    channels: Annotated[dict[Name, ChannelConfig], Field(min_length=1)] = Field(
        default_factory=lambda: {"all": ChannelConfig()}
    )
    classifiers: list[ClassifierConfig] = Field(default_factory=list)
    working_points: WorkingPointsConfig = WorkingPointsConfig()
    scan: ScanConfig
    interpretation: InterpretationConfig = InterpretationConfig()
    tuning: TuningConfig = TuningConfig()
    interpolation: InterpolationConfig | None = None
    tracking: TrackingConfig = TrackingConfig()
    cache: CacheConfig = CacheConfig()
    memory: MemoryConfig = MemoryConfig()

    @model_validator(mode="after")
    def _consistent(self) -> SearchConfig:
        roles = [sample.role for sample in self.samples.values()]
        if "signal" not in roles:
            raise ValueError("no sample has role: signal; the efficiency and the signal shape come from one")
        if "background" not in roles:
            raise ValueError("no sample has role: background; the expected limit needs one")
        if "pseudo_data" in self.samples:
            raise ValueError("no sample may be named 'pseudo_data': what stands in for data has that name")
        names = [classifier.name for classifier in self.classifiers]
        if len(set(names)) < len(names):
            raise ValueError(f"classifiers have the names {names}: each needs its own")
        for classifier in self.classifiers:
            for key, wanted, known in (
                ("samples", classifier.samples, self.samples),
                ("channels", classifier.channels, self.channels),
            ):
                unknown = [name for name in wanted or [] if name not in known]
                if unknown:
                    hint = nearest(unknown[0], known)
                    raise ValueError(f"classifier {classifier.name}: {key} has no {unknown[0]!r}{hint}")
            roles_here = {self.samples[name].role for name in classifier.samples or self.samples}
            if not {"signal", "background"} <= roles_here:
                raise ValueError(f"classifier {classifier.name}: samples need a signal and a background")
        clash = [name for name in self.working_points.preselection if name in names]
        if clash:
            raise ValueError(
                f"working_points.preselection.{clash[0]}: a classifier has that name, and its score is cut on"
                " where it pays; name a column"
            )
        if self.working_points.preselection and not self.classifiers:
            raise ValueError(
                "working_points.preselection: its cuts are chosen together with those on a score, but there"
                " is no classifier; cut in candidates.select"
            )
        if self.classifiers:
            used = {name for c in self.classifiers for name in c.channels or self.channels}
            without = [name for name in self.channels if name not in used]
            if without:
                raise ValueError(f"channels {without} have no classifier; name them in classifiers.channels")
        for name, correction in self.corrections.items():
            for sample in correction.samples or ():
                there = [s for s, given in self.samples.items() if given.role in ("signal", "background")]
                if sample not in there:
                    raise ValueError(
                        f"corrections.{name}.samples: {sample!r} is no sample of signal or background;"
                        f" there are {there}"
                    )
        for name, given in self.samples.items():
            if given.process is not None and given.process != name and given.process in self.samples:
                raise ValueError(
                    f"samples.{name}.process: {given.process!r} is the name of another sample; "
                    "give both the same process, under a name of its own"
                )
            if given.peaks is not None:
                given.peaks.refuse_unknown(f"samples.{name}.peaking", self.channels)
        roles_of: dict[str, set[str]] = {}
        for name, given in self.samples.items():
            roles_of.setdefault(self.process_of(name), set()).add(given.role)
        mixed = [process for process, own in roles_of.items() if len(own) > 1]
        if mixed:
            roles_there = sorted(roles_of[mixed[0]])
            raise ValueError(f"process {mixed[0]!r} has samples of roles {roles_there}; it takes one role")
        wanted_of = {"branching_fraction": ("n_parents",), "g_aW": ("n_parents", "hadron")}
        for key in wanted_of.get(self.interpretation.parameter, ()):
            missing = [name for name, channel in self.channels.items() if getattr(channel, key) is None]
            if missing:
                name = self.interpretation.parameter
                raise ValueError(f"interpretation.parameter {name!r} needs {key} in channels {missing}")
        for name, nuisance in self.scan.nuisances.named.items():
            unknown = [c for c in [*(nuisance.channels or []), *nuisance.sizes] if c not in self.channels]
            if unknown:
                hint = nearest(unknown[0], self.channels)
                raise ValueError(f"scan.nuisances.named.{name}: there is no channel {unknown[0]!r}{hint}")
            without = [
                c for c in nuisance.sizes if nuisance.channels is not None and c not in nuisance.channels
            ]
            if without:
                raise ValueError(f"scan.nuisances.named.{name}.sizes: {without[0]!r} is none of its channels")
        for name, part in self.interpretation.also.items():
            unknown = [channel for channel in part.channels if channel not in self.channels]
            if unknown:
                hint = nearest(unknown[0], self.channels)
                raise ValueError(f"interpretation.also.{name}: there is no channel {unknown[0]!r}{hint}")
            if self.linear_parameter[0] != "branching_fraction":
                raise ValueError("interpretation.also goes with parameter: branching_fraction or g_aW")
        return self

    @model_validator(mode="after")
    def _periods(self) -> SearchConfig:
        named = {f"samples.{name}": sample.period for name, sample in self.samples.items()}
        named |= {f"channels.{name}": channel.period for name, channel in self.channels.items()}
        for place, period in named.items():
            if period is not None and period not in self.periods:
                there = f"there are {list(self.periods)}" if self.periods else "there are no periods"
                hint = nearest(period, self.periods)
                raise ValueError(f"{place}.period: no period {period!r}; {there}{hint}")
        if not self.periods:
            return self
        total = sum(period.luminosity_fb for period in self.periods.values())
        if not math.isclose(total, self.luminosity_fb, rel_tol=1e-6):
            raise ValueError(
                f"luminosity_fb is {self.luminosity_fb:g}, but the periods have {total:g} together"
            )
        without = [name for name, sample in self.samples.items() if sample.period is None]
        if without:
            raise ValueError(f"samples.{without[0]} needs its period, one of {list(self.periods)}")
        if self.pseudo_data.simulate is not None:
            raise ValueError("pseudo_data.simulate knows no periods; leave it out to draw from the model")
        used = set(self.periods)
        if all(channel.period is not None for channel in self.channels.values()):
            used = {str(channel.period) for channel in self.channels.values()}
        has_data = any(sample.role == "data" for sample in self.samples.values())
        for period in self.periods:
            of_period = {sample.role for sample in self.samples.values() if sample.period == period}
            for role in ("signal", "background", *(("data",) if has_data else ())):
                if period in used and role not in of_period:
                    raise ValueError(
                        f"period {period!r} has no sample with role: {role}, but its channels need one"
                    )
        return self

    def process_of(self, sample: str) -> str:
        """What tables and pictures call a sample."""
        return self.samples[sample].process or sample

    @property
    def linear_parameter(self) -> tuple[str, str]:
        """Name and unit of what the signal yield is proportional to."""
        return {
            "cross_section": ("cross_section", "fb"),
            "g_agammagamma": ("cross_section", "fb"),
            "branching_fraction": ("branching_fraction", "1"),
            "g_aW": ("branching_fraction", "1"),
            "signal_events": ("signal events", "1"),
        }[self.interpretation.parameter]
