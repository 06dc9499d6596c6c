"""The config of a search: one typed model per stage, unknown keys refused, units in the keys.

The keys and their meaning are fixed (docs/config.md); ``config_loading.load_config`` reads one.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from darksieve.config.candidates import CandidatesConfig, PeriodConfig
from darksieve.config.classifiers import ClassifierConfig
from darksieve.config.fields import CustomBeams, Name, Positive, Section
from darksieve.config.interpolation import InterpolationConfig
from darksieve.config.interpretation import InterpretationConfig
from darksieve.config.resources import CacheConfig, MemoryConfig, TrackingConfig
from darksieve.config.samples import CorrectionConfig, PseudoDataConfig, SampleConfig
from darksieve.config.scan import ChannelConfig, ScanConfig
from darksieve.config.tuning import TuningConfig
from darksieve.config.working_points import WorkingPointsConfig
from darksieve.errors import nearest


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
    def _samples_have_roles(self) -> SearchConfig:
        roles = [sample.role for sample in self.samples.values()]
        if "signal" not in roles:
            raise ValueError("no sample has role: signal; the efficiency and the signal shape come from one")
        if "background" not in roles:
            raise ValueError("no sample has role: background; the expected limit needs one")
        if "pseudo_data" in self.samples:
            raise ValueError("no sample may be named 'pseudo_data': what stands in for data has that name")
        return self

    @model_validator(mode="after")
    def _classifiers_find_their_parts(self) -> SearchConfig:
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
        return self

    @model_validator(mode="after")
    def _preselection_cuts_on_columns(self) -> SearchConfig:
        names = {classifier.name for classifier in self.classifiers}
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
        return self

    @model_validator(mode="after")
    def _channels_have_classifiers(self) -> SearchConfig:
        if self.classifiers:
            used = {name for c in self.classifiers for name in c.channels or self.channels}
            without = [name for name in self.channels if name not in used]
            if without:
                raise ValueError(f"channels {without} have no classifier; name them in classifiers.channels")
        return self

    @model_validator(mode="after")
    def _corrections_find_their_samples(self) -> SearchConfig:
        for name, correction in self.corrections.items():
            for sample in correction.samples or ():
                there = [s for s, given in self.samples.items() if given.role in ("signal", "background")]
                if sample not in there:
                    raise ValueError(
                        f"corrections.{name}.samples: {sample!r} is no sample of signal or background;"
                        f" there are {there}"
                    )
        return self

    @model_validator(mode="after")
    def _processes_have_one_role(self) -> SearchConfig:
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
        return self

    @model_validator(mode="after")
    def _interpretation_has_what_it_needs(self) -> SearchConfig:
        wanted_of = {
            "branching_fraction": ("n_parents",),
            "g_aW": ("n_parents", "hadron"),
            "sin_theta": ("final_state",),
        }
        for key in wanted_of.get(self.interpretation.parameter, ()):
            missing = [name for name, channel in self.channels.items() if getattr(channel, key) is None]
            if missing:
                name = self.interpretation.parameter
                raise ValueError(f"interpretation.parameter {name!r} needs {key} in channels {missing}")
        if self.interpretation.parameter == "sin_theta":
            self._check_sin_theta()
        elif any(channel.final_state for channel in self.channels.values()):
            raise ValueError("channels.*.final_state goes with interpretation.parameter: sin_theta")
        return self

    def _check_sin_theta(self) -> None:
        """What the region in mass and mixing is made from is there: lifetimes, and each channel alone."""
        if self.scan.ctau_cm is None:
            raise ValueError("interpretation.parameter 'sin_theta' needs scan.ctau_cm: the mixing sets cτ")
        if self.classifiers and self.working_points.kind != "threshold":
            raise ValueError("interpretation.parameter 'sin_theta' needs working_points.kind: threshold")
        alone = {tuple(part.channels) for part in self.interpretation.also.values()}
        missing = [name for name in self.channels if (name,) not in alone]
        if missing:
            raise ValueError(
                f"interpretation.also: sin_theta needs a fit of each channel alone, and {missing} have none"
            )

    @model_validator(mode="after")
    def _lifetimes_were_generated(self) -> SearchConfig:
        for name, sample in self.samples.items():
            if sample.role != "signal":
                continue
            if self.scan.ctau_cm is None:
                if sample.lifetime is not None:
                    raise ValueError(f"samples.{name}.lifetime has no say without scan.ctau_cm")
                continue
            if sample.lifetime is None:
                raise ValueError(
                    f"samples.{name} needs its lifetime: scan.ctau_cm asks for the efficiency at each, which"
                    " follows from true decay lengths; write {length: BRANCH, generated_cm: [low, high]}"
                )
            low, high = sample.lifetime.generated_cm
            outside = [ctau for ctau in self.scan.ctau_cm if not low <= ctau <= high]
            if outside:
                raise ValueError(
                    f"scan.ctau_cm: {outside[0]:g} cm is outside what samples.{name} has, {low:g} to"
                    f" {high:g} cm; generate a wider range"
                )
        return self

    @model_validator(mode="after")
    def _nuisances_find_their_channels(self) -> SearchConfig:
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
        return self

    @model_validator(mode="after")
    def _fits_find_their_channels(self) -> SearchConfig:
        for name, part in self.interpretation.also.items():
            unknown = [channel for channel in part.channels if channel not in self.channels]
            if unknown:
                hint = nearest(unknown[0], self.channels)
                raise ValueError(f"interpretation.also.{name}: there is no channel {unknown[0]!r}{hint}")
            if self.linear_parameter[0] == "signal events":
                raise ValueError("interpretation.also goes with a cross section or a branching fraction")
        return self

    @model_validator(mode="after")
    def _periods_are_whole(self) -> SearchConfig:
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
            "sin_theta": ("cross_section", "fb"),
            "branching_fraction": ("branching_fraction", "1"),
            "g_aW": ("branching_fraction", "1"),
            "signal_events": ("signal events", "1"),
        }[self.interpretation.parameter]
