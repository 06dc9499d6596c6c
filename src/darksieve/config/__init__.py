"""The config of a search: a module per section, put together in ``search``.

``darksieve.config_loading.load_config`` reads one; the keys and their meaning are fixed (docs/config.md).
"""

from darksieve.config.candidates import BestConfig, CandidatesConfig, PairingsConfig, PeriodConfig
from darksieve.config.classifiers import ClassifierConfig, DecorrelationConfig
from darksieve.config.fields import CustomBeams
from darksieve.config.interpolation import InterpolationConfig
from darksieve.config.interpretation import DarkSectorConfig, FitConfig, InterpretationConfig
from darksieve.config.peaks import PeakConfig, PeaksConfig
from darksieve.config.resources import CacheConfig, MemoryConfig, TrackingConfig
from darksieve.config.samples import (
    CorrectionConfig,
    InjectConfig,
    LifetimeConfig,
    PseudoDataConfig,
    SampleConfig,
)
from darksieve.config.scan import (
    BackgroundConfig,
    ChannelConfig,
    CountingConfig,
    NamedNuisanceConfig,
    NuisancesConfig,
    ScanConfig,
)
from darksieve.config.search import SearchConfig
from darksieve.config.tuning import SpaceConfig, TuningConfig
from darksieve.config.working_points import PreselectionConfig, WorkingPointsConfig

__all__ = [
    "BackgroundConfig",
    "BestConfig",
    "CacheConfig",
    "CandidatesConfig",
    "ChannelConfig",
    "ClassifierConfig",
    "CorrectionConfig",
    "CountingConfig",
    "CustomBeams",
    "DarkSectorConfig",
    "DecorrelationConfig",
    "FitConfig",
    "InjectConfig",
    "InterpolationConfig",
    "InterpretationConfig",
    "LifetimeConfig",
    "MemoryConfig",
    "NamedNuisanceConfig",
    "NuisancesConfig",
    "PairingsConfig",
    "PeakConfig",
    "PeaksConfig",
    "PeriodConfig",
    "PreselectionConfig",
    "PseudoDataConfig",
    "SampleConfig",
    "ScanConfig",
    "SearchConfig",
    "SpaceConfig",
    "TrackingConfig",
    "TuningConfig",
    "WorkingPointsConfig",
]
