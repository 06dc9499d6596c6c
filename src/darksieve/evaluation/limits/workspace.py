"""HistFactory workspaces in pyhf's JSON: read, checked, laid out for the compiled likelihood.

Defaults follow pyhf 0.7.6: normsys interpolates with code 4, histosys with code 4p; a shapesys has a Poisson
constraint per bin (bins without yield or uncertainty have no parameter), a staterror a normal one whose width
adds its samples in quadrature. Code 2 is HistFactory's own, with straight lines that join the parabola at ±1.

References:
    L. Heinrich et al., JOSS 6 (2021) 2823 (pyhf); K. Cranmer et al., CERN-OPEN-2012-016 (HistFactory).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.files import read_json
from darksieve.evaluation.limits.histfactory_kernel import NORMAL, POISSON, UNCONSTRAINED, Model
from darksieve.evaluation.limits.interpolation import DEFAULT_INTERPOLATION, INTERPOLATION_CODES
from darksieve.evaluation.limits.workspace_rows import ParameterSet, WorkspaceRows

MODIFIERS = ("normfactor", "normsys", "histosys", "shapesys", "staterror", "shapefactor", "lumi")


@dataclass(frozen=True)
class Workspace:
    """A workspace of one measurement, ready to be fitted.

    Attributes:
        model: Flat arrays of the likelihood.
        names: Parameters' names, ``name[i]`` for one per bin.
        poi: Index of the parameter of interest.
        poi_name: Its name.
        start: Initial values, shape (n_parameters,).
        lower: Bounds, same shape.
        upper: Bounds, same shape.
        free: Parameters that are fitted, same shape, bool.
        auxiliary: Measured values of the constraints, same shape.
        counts: Observed counts, shape (n_bins,).
        channel_names: In the order of the bins.
    """

    model: Model
    names: tuple[str, ...]
    poi: int
    poi_name: str
    start: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    free: NDArray[np.bool_]
    auxiliary: NDArray[np.float64]
    counts: NDArray[np.float64]
    channel_names: tuple[str, ...]

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Workspace:
        """Read a workspace file; options as in ``parse``."""
        return cls.parse(read_json(path), source=str(path), **options)

    @classmethod
    def parse(
        cls,
        document: Mapping[str, Any],
        *,
        measurement: str | None = None,
        interpolation: Mapping[str, str] | None = None,
        source: str = "workspace",
    ) -> Workspace:
        """Lay out a workspace from parsed JSON.

        Args:
            document: The workspace.
            measurement: Name of the measurement; the first one by default.
            interpolation: Code per modifier, see `interpolation.parse_interpolation`.
            source: Named in errors.

        Raises:
            InputError: If the workspace is malformed or holds an unknown modifier.
        """
        return _Reader(document, dict(DEFAULT_INTERPOLATION) | dict(interpolation or {}), source).read(
            measurement
        )


class _Reader:
    def __init__(self, document: Mapping[str, Any], interpolation: Mapping[str, str], source: str) -> None:
        self.document = document
        self.codes = {name: INTERPOLATION_CODES[name][code] for name, code in interpolation.items()}
        self.source = source
        self.parameters: dict[str, ParameterSet] = {}

    def fault(self, place: str, message: str) -> InputError:
        return InputError(f"{self.source}: {place}: {message}")

    def get(self, where: Any, key: str, place: str) -> Any:
        if not isinstance(where, Mapping):
            raise self.fault(place, f"{where!r} is not an object with keys")
        if key not in where:
            raise self.fault(place, f"key {key!r} is missing{nearest(key, where)}")
        return where[key]

    def numbers(
        self, values: Any, place: str, size: int | None = None, least: float = -math.inf
    ) -> list[float]:
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise self.fault(place, f"{values!r} is not a list of numbers")
        for i, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self.fault(f"{place}[{i}]", f"{value!r} is not a finite number")
            if value < least:
                raise self.fault(f"{place}[{i}]", f"{value!r} is below {least:g}")
        if size is not None and len(values) != size:
            raise self.fault(place, f"{len(values)} numbers, but the channel has {size} bins")
        return [float(value) for value in values]

    # the order of reading: channels give modifiers, the measurement then overrides their parameters
    def read(self, measurement: str | None) -> Workspace:
        config = self._measurement(measurement)
        channels = self.get(self.document, "channels", "workspace")
        if not isinstance(channels, list) or not channels:
            raise self.fault("channels", "no channel; give at least one")
        layout: list[tuple[str, int, Any, str]] = []
        for i, channel in enumerate(channels):
            place = f"channels[{i}]"
            samples = self.get(channel, "samples", place)
            if not isinstance(samples, list) or not samples:
                raise self.fault(place, "no samples; give at least one or leave the channel out")
            n_bins = len(self.get(samples[0], "data", f"{place}.samples[0]"))
            if n_bins == 0:
                raise self.fault(place, "no bins; give at least one or leave the channel out")
            name = str(self.get(channel, "name", place))
            if name in [other[0] for other in layout]:
                raise self.fault(place, f"channel {name!r} twice")
            layout.append((name, n_bins, samples, place))
        counts = self._observations([(name, n_bins) for name, n_bins, _, _ in layout])
        blocks = []
        for c, (_, n_bins, samples, place) in enumerate(layout):
            for s, sample in enumerate(samples):
                here = f"{place}.samples[{s}]"
                data = self.numbers(self.get(sample, "data", here), f"{here}.data", n_bins)
                modifiers = self.get(sample, "modifiers", here)
                for m, modifier in enumerate(modifiers):
                    self._declare(modifier, data, c, f"{here}.modifiers[{m}]")
                blocks.append((c, data, modifiers, here))
        self._staterrors(blocks)
        poi_name = str(self.get(config, "poi", "measurement.config"))
        self._override(config.get("parameters", []))
        return self._lay_out(layout, blocks, counts, poi_name)

    def _measurement(self, name: str | None) -> Mapping[str, Any]:
        measurements = self.get(self.document, "measurements", "workspace")
        if not isinstance(measurements, list) or not measurements:
            raise self.fault("measurements", "none; a measurement names the parameter of interest")
        names = [str(self.get(entry, "name", f"measurements[{i}]")) for i, entry in enumerate(measurements)]
        if name is None:
            chosen = 0
        elif name in names:
            chosen = names.index(name)
        else:
            raise self.fault("measurements", f"{name!r} is none of {', '.join(names)}{nearest(name, names)}")
        config: Mapping[str, Any] = self.get(measurements[chosen], "config", f"measurements[{chosen}]")
        return config

    def _observations(self, layout: Sequence[tuple[str, int]]) -> list[float]:
        observations = self.get(self.document, "observations", "workspace")
        by_name = {}
        for i, entry in enumerate(observations):
            by_name[str(self.get(entry, "name", f"observations[{i}]"))] = (entry, f"observations[{i}]")
        counts: list[float] = []
        for name, n_bins in layout:
            if name not in by_name:
                raise self.fault("observations", f"none for channel {name!r}{nearest(name, by_name)}")
            entry, place = by_name[name]
            counts += self.numbers(self.get(entry, "data", place), f"{place}.data", n_bins, 0.0)
        return counts

    def _declare(self, modifier: Any, data: list[float], channel: int, place: str) -> None:
        kind, name = str(self.get(modifier, "type", place)), str(self.get(modifier, "name", place))
        if kind not in MODIFIERS:
            raise self.fault(
                place, f"unknown modifier {kind!r}; known: {', '.join(MODIFIERS)}{nearest(kind, MODIFIERS)}"
            )
        n_bins = len(data)
        content = modifier.get("data")
        if kind == "normfactor":
            new = ParameterSet("free", 1, UNCONSTRAINED, [1.0], [0.0], [10.0])
        elif kind == "shapefactor":
            new = ParameterSet(
                "shapefactor", n_bins, UNCONSTRAINED, [1.0] * n_bins, [0.0] * n_bins, [10.0] * n_bins
            )
        elif kind == "lumi":
            new = ParameterSet("lumi", 1, NORMAL, [], [], [], [], [])
        elif kind in ("normsys", "histosys"):
            new = ParameterSet("alpha", 1, NORMAL, [0.0], [-5.0], [5.0], [0.0], [1.0])
            self._check_variation(kind, content, n_bins, f"{place}.data")
        elif kind == "shapesys":
            if name in self.parameters:
                raise self.fault(
                    place, f"shapesys {name!r} twice; its parameters cannot be shared, give it a new name"
                )
            errors = self.numbers(content, f"{place}.data", n_bins, 0.0)
            valid = [value > 0 and error > 0 for value, error in zip(data, errors, strict=True)]
            tau = [(v / e) ** 2 if ok else 1.0 for v, e, ok in zip(data, errors, valid, strict=True)]
            new = ParameterSet(
                "shapesys", n_bins, POISSON, [1.0] * n_bins, [1e-10] * n_bins, [10.0] * n_bins,
                list(tau), tau, [not ok for ok in valid],
            )  # fmt: skip
        else:  # staterror: its widths need all samples of the channel
            self.numbers(content, f"{place}.data", n_bins, 0.0)
            new = ParameterSet(
                f"staterror of channel {channel}",
                n_bins,
                NORMAL,
                [1.0] * n_bins,
                [1e-10] * n_bins,
                [10.0] * n_bins,
            )
        if not new.fixed:
            new.fixed = [False] * new.size
        old = self.parameters.setdefault(name, new)
        if (old.kind, old.size) != (new.kind, new.size):
            raise self.fault(
                place,
                f"{kind} {name!r} shares its name with a modifier of another kind or size; rename it",
            )

    def _check_variation(self, kind: str, content: Any, n_bins: int, place: str) -> None:
        if kind == "normsys":
            low, high = self.numbers([self.get(content, "lo", place), self.get(content, "hi", place)], place)
            if min(low, high) <= 0 and self.codes["normsys"] in (1, 4):
                raise self.fault(
                    place, f"lo {low} and hi {high} must be > 0 to be interpolated exponentially"
                )
            return
        for key in ("lo_data", "hi_data"):
            self.numbers(self.get(content, key, place), f"{place}.{key}", n_bins)

    def _staterrors(self, blocks: Sequence[tuple[int, list[float], Any, str]]) -> None:
        found: dict[str, list[tuple[list[float], list[float]]]] = {}
        for _, data, modifiers, _ in blocks:
            for modifier in modifiers:
                if modifier["type"] == "staterror":
                    found.setdefault(modifier["name"], []).append((data, modifier["data"]))
        for name, pairs in found.items():
            nominal = np.sum([data for data, _ in pairs], axis=0)
            errors = np.sqrt(np.sum(np.square([error for _, error in pairs]), axis=0))
            width = np.divide(errors, nominal, out=np.zeros_like(errors), where=nominal > 0)
            parameters = self.parameters[name]
            parameters.auxiliary = [1.0] * parameters.size
            parameters.fixed = [bool(value == 0) for value in width]
            parameters.scale = [float(value) or 1.0 for value in width]

    def _override(self, configs: Sequence[Mapping[str, Any]]) -> None:
        for i, config in enumerate(configs):
            place = f"measurement.config.parameters[{i}]"
            name = str(self.get(config, "name", place))
            parameters = self.parameters.get(name)
            if parameters is None:
                continue  # pyhf, too, allows settings for parameters that no sample has
            size = parameters.size
            for key in config:
                if key not in ("name", "inits", "bounds", "auxdata", "sigmas", "factors", "fixed"):
                    known = ("inits", "bounds", "auxdata", "sigmas", "factors", "fixed")
                    raise self.fault(place, f"unknown key {key!r}{nearest(key, known)}")
            if "inits" in config:
                parameters.init = self.numbers(config["inits"], f"{place}.inits", size)
            if "bounds" in config:
                bounds = [
                    self.numbers(pair, f"{place}.bounds[{j}]", 2) for j, pair in enumerate(config["bounds"])
                ]
                if len(bounds) != size:
                    raise self.fault(f"{place}.bounds", f"{len(bounds)} pairs for {size} parameters")
                parameters.lower = [pair[0] for pair in bounds]
                parameters.upper = [pair[1] for pair in bounds]
                if any(not low < high for low, high in bounds):
                    raise self.fault(f"{place}.bounds", "each lower bound must be below its upper bound")
            for key in ("auxdata", "sigmas", "factors"):
                if key not in config:
                    continue
                wanted = {"auxdata": (NORMAL, POISSON), "sigmas": (NORMAL,), "factors": (POISSON,)}[key]
                if parameters.constraint not in wanted or (key == "sigmas" and parameters.kind == "alpha"):
                    raise self.fault(
                        place, f"{name!r} ({parameters.kind}) does not use {key!r}; leave it out"
                    )
                values = self.numbers(config[key], f"{place}.{key}", size)
                if key == "auxdata":
                    parameters.auxiliary = values
                else:
                    if min(values) <= 0:
                        raise self.fault(f"{place}.{key}", "widths and factors must be > 0")
                    parameters.scale = values
            if "fixed" in config:
                fixed = config["fixed"]
                if not isinstance(fixed, bool):
                    raise self.fault(f"{place}.fixed", f"{fixed!r} is not true or false")
                parameters.fixed = [fixed] * size
        for name, parameters in self.parameters.items():
            if parameters.kind != "lumi":
                continue
            for key, values in (
                ("auxdata", parameters.auxiliary), ("sigmas", parameters.scale), ("inits", parameters.init),
                ("bounds", parameters.lower),
            ):  # fmt: skip
                if not values:
                    raise self.fault(
                        "measurement.config.parameters",
                        f"lumi {name!r} needs {key!r} (with inits, bounds, auxdata, sigmas)",
                    )

    def _lay_out(
        self, layout: Sequence[Any], blocks: Sequence[Any], counts: list[float], poi_name: str
    ) -> Workspace:
        position = 0
        names: list[str] = []
        for name, parameters in self.parameters.items():
            parameters.start = position
            position += parameters.size
            scalar = parameters.kind in ("free", "alpha", "lumi")
            names += [name] if scalar else [f"{name}[{i}]" for i in range(parameters.size)]
        if poi_name not in self.parameters:
            place = "measurement.config.poi"
            raise self.fault(
                place, f"{poi_name!r} is no parameter of any sample{nearest(poi_name, self.parameters)}"
            )
        if self.parameters[poi_name].size != 1:
            raise self.fault(
                "measurement.config.poi", f"{poi_name!r} has one parameter per bin; choose a normfactor"
            )
        rows = WorkspaceRows()
        for channel, data, modifiers, _ in blocks:
            rows.add(channel, data, modifiers, self.parameters, self.codes)
        in_order = list(self.parameters.values())
        constraint, scale, auxiliary = [], [], []
        for p in in_order:
            constraint += [p.constraint] * p.size
            scale += p.scale or [1.0] * p.size
            auxiliary += p.auxiliary or [0.0] * p.size
        fixed = np.array([flag for p in in_order for flag in p.fixed])
        start = np.array([value for p in in_order for value in p.init])
        kind = np.array(constraint, np.int64)
        kind[fixed] = UNCONSTRAINED  # a constant
        sizes = [n_bins for _, n_bins, _, _ in layout]
        model = rows.model(sizes, kind, np.array(scale))
        return Workspace(
            model, tuple(names), self.parameters[poi_name].start, poi_name, start,
            np.array([value for p in in_order for value in p.lower]),
            np.array([value for p in in_order for value in p.upper]),
            ~fixed, np.array(auxiliary), np.array(counts), tuple(name for name, _, _, _ in layout),
        )  # fmt: skip
