"""The hand-over to the limit tool: the search document ``darksieve-search/1``.

One JSON file says which data there are, which background is fitted under them and which signal is looked for
at each point. A run of darksieve writes it; a physicist with histograms writes it by hand (docs/limits.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from darksieve.atomic import write_json
from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.components import (
    Background,
    Backgrounds,
    CountingSignal,
    CrystalBallSignal,
    Fitted,
    FittedBackground,
    GaussianSignal,
    KnownBackground,
    NonNegative,
    OneSlopeBackground,
    Peaking,
    PolynomialBackground,
    Signal,
    TemplateBackground,
    TemplateSignal,
)
from darksieve.evaluation.limits.data import BinnedData, CountingData, Data, FileData, UnbinnedData
from darksieve.evaluation.limits.faults import describe_faults, fault
from darksieve.evaluation.limits.files import read_json
from darksieve.evaluation.limits.parts import Interval, Part, Real

__all__ = [
    "Background",
    "BinnedData",
    "Channel",
    "CountingData",
    "CountingSignal",
    "CrystalBallSignal",
    "Data",
    "FileData",
    "FittedBackground",
    "GaussianSignal",
    "KnownBackground",
    "Nuisance",
    "OneSlopeBackground",
    "Parameter",
    "Peaking",
    "Point",
    "PolynomialBackground",
    "SearchModel",
    "Signal",
    "TemplateBackground",
    "TemplateSignal",
    "UnbinnedData",
    "kept_bins",
]

FORMAT = "darksieve-search/1"


class Parameter(Part):
    """What the limits are on."""

    name: str = "signal strength"
    unit: str = "1"


class Channel(Part):
    """One spectrum (or one count) that is fitted together with the others."""

    name: str
    data: Data | None = None
    background: Backgrounds | None = None


class Point(Part):
    """One signal hypothesis; ``status`` marks a point of the scan that is not to be fitted."""

    label: str
    mass: Real | None = None
    channels: dict[str, Signal] = Field(default_factory=dict)
    status: Literal["vetoed", "no_signal"] | None = None


class Nuisance(Part):
    """An uncertainty with a unit Gaussian constraint; equal names are one parameter.

    ``log_normal``: × (1 + size)^θ. ``linear``: × (1 + size θ); on the mean
    + size_sigma σ θ, or × (1 + size θ).
    ``on: background`` scales known and template backgrounds.
    On the yield, ``sizes`` of a point's channel or of its peaking background go before ``size``.
    """

    name: str
    on: Literal["yield", "sigma", "mean", "background"]
    kind: Literal["log_normal", "linear"]
    size: Real | None = None
    size_sigma: Real | None = None
    channels: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.on == "mean":
            if (self.size is None) == (self.size_sigma is None):
                raise fault("on the mean give 'size_sigma' (shift in units of sigma) or 'size' (relative)")
            if self.kind != "linear":
                raise fault("a nuisance on the mean is 'linear'", "kind")
        elif self.size_sigma is not None or (self.size is None and self.on != "yield"):
            raise fault(f"on the {self.on} give 'size', a relative uncertainty; 'size_sigma' is for the mean")
        if self.kind == "log_normal" and self.size is not None and self.size <= -1:
            raise fault(f"{self.size!r}: a log-normal size must be above -1", "size")
        return self


class SearchModel(Part):
    """A search document: data, backgrounds and signals of all points of a scan."""

    format: Literal["darksieve-search/1"]
    schema_: str | None = Field(default=None, alias="$schema")
    parameter: Parameter = Parameter()
    ctau_cm: NonNegative | None = None  # of what is searched for, where the signal is of one lifetime
    channels: tuple[Channel, ...]
    points: tuple[Point, ...]
    nuisances: tuple[Nuisance, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether the document holds no observed data."""
        return all(
            channel.data is None or (isinstance(channel.data, BinnedData) and channel.data.counts is None)
            for channel in self.channels
        )

    def background_of(self, point: Point, channel: str) -> tuple[Background, ...]:
        """The background hypotheses of a point's channel; more than one means discrete profiling."""
        own = point.channels[channel].background
        chosen = own if own is not None else self.channel(channel).background
        if chosen is None:
            raise ValueError(f"channel {channel!r} has no background")
        return chosen if isinstance(chosen, tuple) else (chosen,)

    def yield_nuisances(self, channel: str) -> dict[str, Nuisance]:
        """Nuisances on the yields of a channel, by their names."""
        return {
            nuisance.name: nuisance
            for nuisance in self.nuisances
            if nuisance.on == "yield" and (nuisance.channels is None or channel in nuisance.channels)
        }

    def channel(self, name: str) -> Channel:
        """The channel of that name; KeyError if there is none."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise KeyError(name)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.channels:
            raise fault("no channel; give at least one", "channels")
        if not self.points:
            raise fault("no point; give at least one signal hypothesis", "points")
        names = [channel.name for channel in self.channels]
        _refuse_twice(names, "channels", "name")
        _refuse_twice([point.label for point in self.points], "points", "label")
        for i, nuisance in enumerate(self.nuisances):
            for j, name in enumerate(nuisance.channels or ()):
                if name not in names:
                    raise fault(
                        f"{name!r}: no such channel{nearest(name, names)}", "nuisances", i, "channels", j
                    )
        has_data = [not _is_blind(channel) for channel in self.channels]
        if any(has_data) and not all(has_data):
            i = has_data.index(False)
            raise fault(
                "no data, but other channels have them; give data to all channels or to none", "channels", i
            )
        by_name = {channel.name: channel for channel in self.channels}
        edges = {
            channel.name: np.asarray(channel.data.edges)
            for channel in self.channels
            if isinstance(channel.data, BinnedData)
        }
        for i, point in enumerate(self.points):
            _check_point(point, by_name, edges, i)
        _check_sizes(self)
        return self

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, source: str = "search document") -> SearchModel:
        """The document from parsed JSON.

        Raises:
            InputError: If anything is wrong: names the place, the value and what would work.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise InputError(describe_faults(error, document, source)) from None

    @classmethod
    def load(cls, path: str | Path, *, read_files: bool = True) -> SearchModel:
        """Read a document; data in files (``{"file", "tree", "branch", "select"}``) are read as well.

        Raises:
            InputError: If the file cannot be read or is not a valid search document.
        """
        path = Path(path)
        model = cls.parse(read_json(path), source=str(path))
        return model.with_files_read(path.parent, source=str(path)) if read_files else model

    def save(self, path: str | Path) -> None:
        """Write the document as JSON, atomically."""
        write_json(path, self.to_json(), indent=None)

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON types; what is unset is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True) | {
            "format": FORMAT,
            "parameter": self.parameter.model_dump(mode="json"),
        }

    def with_files_read(self, folder: str | Path = ".", *, source: str = "search document") -> SearchModel:
        """The same document with every data file replaced by its values."""
        channels = list(self.channels)
        for i, channel in enumerate(channels):
            if isinstance(channel.data, FileData):
                values = _read_branch(channel.data, Path(folder), f"{source}: channels[{i}].data")
                channels[i] = channel.model_copy(update={"data": UnbinnedData(values=tuple(values.tolist()))})
        if channels == list(self.channels):
            return self
        return SearchModel.parse(
            self.to_json() | {"channels": [_dump(channel) for channel in channels]}, source=source
        )


def _dump(part: Part) -> dict[str, Any]:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _is_blind(channel: Channel) -> bool:
    return channel.data is None or (isinstance(channel.data, BinnedData) and channel.data.counts is None)


def _refuse_twice(names: Sequence[str], place: str, key: str) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise fault(f"{name!r} twice; each {key} must be its own", place, i, key)
        seen.add(name)


def _check_point(
    point: Point, channels: Mapping[str, Channel], edges: Mapping[str, NDArray[np.float64]], index: int
) -> None:
    if not point.channels and point.status is None:
        raise fault(
            "no channel at this point; name one, or say 'status': 'vetoed' or 'no_signal'", "points", index
        )
    for name, signal in point.channels.items():
        place = ("points", index, "channels", name)
        if name not in channels:
            raise fault(f"no such channel{nearest(name, channels)}", *place)
        _check_signal(signal, channels[name], edges.get(name), place)


def _check_signal(
    signal: Signal, channel: Channel, edges: NDArray[np.float64] | None, place: tuple[str | int, ...]
) -> None:
    chosen = signal.background if signal.background is not None else channel.background
    if chosen is None or chosen == ():
        raise fault(
            "no background; give one here or in the channel, e.g. {'family': 'known', 'yield': 0}", *place
        )
    backgrounds = chosen if isinstance(chosen, tuple) else (chosen,)
    known = [isinstance(background, KnownBackground) for background in backgrounds]
    if any(known) and len(known) > 1:
        raise fault(
            "a 'known' background stands alone: discrete profiling is between fitted families", *place
        )
    if isinstance(signal, CountingSignal) and not any(known):
        raise fault(
            "no 'shape' and a background that is fitted; give shape, window and parameters, or count with "
            "{'family': 'known', 'yield': …}",
            *place,
        )
    if any(known) and not isinstance(signal, CountingSignal):
        raise fault("a 'known' background is for counting: leave out 'shape', or give a template", *place)
    if isinstance(signal, CountingSignal):
        if isinstance(channel.data, CountingData) and signal.window is not None:
            raise fault(
                "the channel's data are one number, which no window can select from", *place, "window"
            )
        if isinstance(channel.data, UnbinnedData | BinnedData | FileData) and signal.window is None:
            raise fault(
                "no window, but the channel's data are a spectrum; give the window to count in", *place
            )
        return
    if isinstance(channel.data, CountingData):
        raise fault(
            "the channel's data are one number: leave out 'shape', or give edges or values", *place, "shape"
        )
    if edges is not None:
        low, high = signal.window
        if not np.any(kept_bins(edges, signal.window, signal.exclude)):
            raise fault(
                f"[{low}, {high}] holds no whole bin of the data, which go from {edges[0]} to {edges[-1]}",
                *place,
                "window",
            )
    if isinstance(channel.data, UnbinnedData) and not channel.data.values:
        raise fault(
            f"channel {channel.name!r} has no events, so its background cannot be fitted; "
            "count with a 'known' background, or leave the channel out",
            *place,
        )
    if _is_blind(channel):
        for background in backgrounds:
            if isinstance(background, Fitted) and (
                background.yield_ is None or background.coefficients is None
            ):
                raise fault(
                    "without data a fitted background needs its expected 'yield' and 'coefficients'",
                    *place,
                    "background",
                )
    for background in backgrounds:
        if getattr(background, "family", "") == "power" and signal.window[0] <= 0:
            raise fault(f"{signal.window[0]}: a power law needs a window above zero", *place, "window")


def _check_sizes(model: SearchModel) -> None:
    """Sizes at points are of nuisances on the yield; such a nuisance has a size somewhere."""
    known = {channel.name: model.yield_nuisances(channel.name) for channel in model.channels}
    used: set[str] = set()

    def check(sizes: Mapping[str, float], channel: str, place: tuple[str | int, ...]) -> None:
        used.update(sizes)
        for name, size in sizes.items():
            if name not in known[channel]:
                raise fault(
                    f"no nuisance {name!r} on the yield of this channel{nearest(name, known[channel])}",
                    *place,
                    name,
                )
            if known[channel][name].kind == "log_normal" and size <= -1:
                raise fault(f"{size!r}: a log-normal size must be above -1", *place, name)

    for i, point in enumerate(model.points):
        for channel, signal in point.channels.items():
            place = ("points", i, "channels", channel)
            check(signal.sizes, channel, (*place, "sizes"))
            for background in model.background_of(point, channel):
                for j, peak in enumerate(getattr(background, "peaking", ())):
                    check(peak.sizes, channel, (*place, "background", "peaking", j, "sizes"))
    for i, nuisance in enumerate(model.nuisances):
        if nuisance.on == "yield" and nuisance.size is None and nuisance.name not in used:
            raise fault("no 'size', neither here nor in 'sizes' of a point's channel", "nuisances", i)


def kept_bins(
    edges: NDArray[np.float64], window: Interval, exclude: Sequence[Interval] = ()
) -> NDArray[np.bool_]:
    """Bins wholly inside the window (to 1e-9 of its width) that touch no excluded interval."""
    slack = 1e-9 * (window[1] - window[0])
    first = np.searchsorted(edges, window[0] - slack)
    last = np.searchsorted(edges, window[1] + slack, side="right") - 1  # edge index: the last bin ends here
    kept = np.zeros(len(edges) - 1, dtype=np.bool_)
    kept[first : max(first, last)] = True
    for low, high in exclude:
        kept &= (edges[1:] <= low + slack) | (edges[:-1] >= high - slack)
    return kept


def _read_branch(data: FileData, folder: Path, place: str) -> NDArray[np.float64]:
    from darksieve.datasets.reader import read_branch  # the reader pulls in uproot

    values = np.asarray(
        read_branch(folder / data.file, data.branch, tree=data.tree, select=data.select), np.float64
    )
    if not np.all(np.isfinite(values)):
        n_bad = int(np.sum(~np.isfinite(values)))
        raise InputError(
            f"{place}: branch {data.branch!r} holds {n_bad} values that are not finite; select them away"
        )
    return values
