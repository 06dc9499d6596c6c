"""One point of a search document as the samples of a HistFactory workspace (see ``pyhf_export``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from darksieve.evaluation.limits.compile import compile_search, nuisance_names
from darksieve.evaluation.limits.components import (
    Background,
    CountingSignal,
    KnownBackground,
    OneSlopeBackground,
    PolynomialBackground,
)
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import FAILED, fit, upper_limits
from darksieve.evaluation.limits.envelope import envelope_limits, has_choice
from darksieve.evaluation.limits.minuit import MinuitProblem
from darksieve.evaluation.limits.problem import ADDITIVE, LINEAR, LOG_NORMAL, Floats, ProblemBatch
from darksieve.evaluation.limits.response import response

BINS_PER_SIGMA = 12.0  # of data given as values, and of blind documents without edges
POI = "mu"
WIDEST_STEP, STEP_SIGMAS = 3.0, 30.0  # of a slope's α = 1: in the slope's own unit, and in its errors
Histosys = Literal["code4p", "code2"]
# part of the parabola's bend at ±1 σ with which a code has the parabola's curvature at zero
BEND = {"code4p": 8 / 15, "code2": 1.0}
Sample = dict[str, Any]


class PointExport:
    """One point: its problem in bins, and the samples made of it."""

    def __init__(self, model: SearchModel, i: int, histosys: Histosys, poi_scale: float) -> None:
        self.bend = BEND[histosys]
        self.model, self.point, self.poi_scale = model, model.points[i], poi_scale
        choice = envelope_limits(model, points=[i]).choices[0] if has_choice(model, i) else {}
        self.backgrounds: dict[str, Background] = {}
        for name in self.point.channels:
            options = model.background_of(self.point, name)
            self.backgrounds[name] = options[choice.get(name, 0)]
        self.nuisances = list(nuisance_names(model, [i], choice))
        self.batch = self._compile(self.backgrounds)
        positive = {  # sums of Bernstein polynomials are all polynomials, and each of them is positive
            name: background.model_copy(update={"family": "bernstein", "coefficients": None})
            if isinstance(background, PolynomialBackground)
            else background
            for name, background in self.backgrounds.items()
        }
        self.bernstein = self._compile(positive)
        one = MinuitProblem(self.batch, 0, self.batch.rows)
        if self.batch.blind:
            self.x = np.array(self.batch.structure.start[0, : one.n])
        else:
            found = fit(self.batch, 0.0, threads=1)
            if found.status[0] == FAILED:
                raise ValueError(f"point {self.point.label!r}: the fit of the background does not converge")
            self.x = np.array(found.parameters[0, : one.n])
        self.x[one.strength] = 0.0
        self.strength = one.strength
        self.n_morphs = int(self.batch.structure.morph_nuisance.size)
        self.expectation = one.expectation(self.x)
        self.parameters: dict[str, dict[str, Any]] = {}

    def _compile(self, backgrounds: Mapping[str, Background]) -> ProblemBatch:
        channels = {
            name: signal.model_copy(update={"background": backgrounds[name]})
            for name, signal in self.point.channels.items()
        }
        point = self.point.model_copy(update={"channels": channels})
        model = self.model.model_copy(update={"points": (point,)})
        return compile_search(model, points=[0], unbinned=False, bins_per_sigma=BINS_PER_SIGMA)

    def workspace(self) -> dict[str, Any]:
        """The point in pyhf's JSON."""
        channels: list[dict[str, Any]] = []
        observations: list[dict[str, Any]] = []
        for c, channel in enumerate(self.model.channels):
            if channel.name not in self.point.channels:
                continue
            name, (begin, end) = channel.name, self._rows(c)
            source = self.expectation if self.batch.blind else self.batch.rows.counts
            counts = np.array(source[begin:end])
            samples = [self._signal(c), *self._components(c), *self._free(c, name)]
            if self.batch.structure.has_slope[0, c]:
                slope = self._slope(c, name)
                for r in range(end - begin):
                    split = f"{name} bin {r}"
                    channels.append({"name": split, "samples": [*_in_bin(samples, r), *_in_bin([slope], r)]})
                    observations.append({"name": split, "data": [float(counts[r])]})
                continue
            channels.append({"name": name, "samples": samples})
            observations.append({"name": name, "data": counts.tolist()})
        limits = upper_limits(self.batch, threads=1, errors=False)
        reach = np.nanmax([*limits.expected[0], *limits.observed, 1e-300]) / self.poi_scale
        self._parameter(POI, 0.1 * float(reach), 0.0, 10 * float(reach))
        used = {m["name"] for ch in channels for s in ch["samples"] for m in s["modifiers"]}
        for t, nuisance in enumerate(self.nuisances):
            if nuisance in used:
                at = self.strength + 1 + t
                structure = self.batch.structure
                self._parameter(nuisance, 0.0, float(structure.lower[0, at]), float(structure.upper[0, at]))
        config = {"poi": POI, "parameters": list(self.parameters.values())}
        return {
            "channels": channels,
            "observations": observations,
            "measurements": [{"name": "limits", "config": config}],
            "version": "1.0.0",
        }

    def _parameter(self, name: str, start: float, low: float, high: float) -> None:
        self.parameters[name] = {"name": name, "inits": [start], "bounds": [[low, high]]}

    def _rows(self, c: int) -> tuple[int, int]:
        begin, end = (int(r) for r in self.batch.rows.start[0, c : c + 2])
        name = self.model.channels[c].name
        if isinstance(self.point.channels[name], CountingSignal):
            end = begin + 1  # a second row would measure the background: that is the shapesys
        return begin, end

    def _columns(self, batch: ProblemBatch, c: int) -> Floats:
        # (n_templates, n_rows): S, D_j, E_ij, F_m, P_k
        begin, end = (int(r) for r in batch.rows.start[0, c : c + 2])
        s = batch.structure
        n_pairs = self.n_morphs * (self.n_morphs + 1) // 2
        n = 1 + self.n_morphs + n_pairs + int(s.n_components[0, c] + s.n_linear[0, c])
        origin = int(batch.rows.column_start[0, c])
        columns = batch.rows.columns[origin : origin + n * (end - begin)].reshape(n, end - begin)
        first, last = self._rows(c)
        return columns[:, : last - first]

    @property
    def _first_component(self) -> int:
        return 1 + self.n_morphs + self.n_morphs * (self.n_morphs + 1) // 2

    def _signal(self, c: int) -> Sample:
        structure = self.batch.structure
        unit = float(self.batch.events_per_unit[0]) * self.poi_scale
        columns = unit * self._columns(self.batch, c)
        nominal = columns[0]
        up = {t: nominal.copy() for t in range(len(self.nuisances))}
        down = {t: nominal.copy() for t in range(len(self.nuisances))}
        pair = 1 + self.n_morphs
        for j in range(self.n_morphs):
            t = int(structure.morph_nuisance[j])
            bend = 0.5 * self.bend * columns[pair]
            up[t], down[t] = nominal + columns[1 + j] + bend, nominal - columns[1 + j] + bend
            pair += self.n_morphs - j
        kinds, sizes = structure.yield_kind[0, c], structure.yield_size[0, c]
        modifiers = [{"name": POI, "type": "normfactor", "data": None}]
        modifiers += self._effects(kinds, sizes, nominal, up, down)
        return {"name": "signal", "data": nominal.tolist(), "modifiers": modifiers}

    def _effects(
        self,
        kinds: Any,
        sizes: Floats,
        nominal: Floats,
        up: Mapping[int, Floats] | None = None,
        down: Mapping[int, Floats] | None = None,
    ) -> list[dict[str, Any]]:
        modifiers: list[dict[str, Any]] = []
        for t, name in enumerate(self.nuisances):
            high = nominal if up is None else up[t]
            low = nominal if down is None else down[t]
            if kinds[t] == LINEAR:
                high, low = high * (1 + sizes[t]), low * (1 - sizes[t])
            if kinds[t] == LOG_NORMAL:
                data = {"hi": float(1 + sizes[t]), "lo": float(1 / (1 + sizes[t]))}
                modifiers.append({"name": name, "type": "normsys", "data": data})
            if np.any(high != nominal) or np.any(low != nominal):
                shifted = {"hi_data": high.tolist(), "lo_data": low.tolist()}
                modifiers.append({"name": name, "type": "histosys", "data": shifted})
        return modifiers

    def _components(self, c: int) -> list[Sample]:
        structure = self.batch.structure
        first = self._first_component
        columns = self._columns(self.batch, c)
        samples = []
        for m in range(int(structure.n_components[0, c])):
            nominal = columns[first + m]
            kinds, sizes = structure.component_kind[0, c, m], structure.component_size[0, c, m]
            added = np.flatnonzero(kinds == ADDITIVE)
            if added.size:
                change = nominal * sizes[added[0]]
                data = {"hi_data": change.tolist(), "lo_data": (-change).tolist()}
                modifiers = [{"name": self.nuisances[added[0]], "type": "histosys", "data": data}]
                nominal = np.zeros_like(nominal)
            else:
                modifiers = self._effects(kinds, sizes, nominal)
            samples.append({"name": f"fixed {m}", "data": nominal.tolist(), "modifiers": modifiers})
        return samples

    def _block(self, c: int) -> int:
        s = self.batch.structure
        return int((s.n_linear[0, :c] + 2 * s.has_slope[0, :c]).sum())

    def _free(self, c: int, name: str) -> list[Sample]:
        structure = self.batch.structure
        n_linear = int(structure.n_linear[0, c])
        if n_linear == 0:
            return []
        background = self.backgrounds[name]
        templates = self._columns(self.bernstein, c)[self._first_component :]
        templates = templates[int(structure.n_components[0, c]) :]
        if isinstance(background, KnownBackground):  # a measured background, the only row of its channel
            modifier = {"name": f"{name} measured", "type": "shapesys", "data": [background.uncertainty]}
            return [{"name": "background", "data": templates[0].tolist(), "modifiers": [modifier]}]
        own = self._columns(self.batch, c)[-n_linear:]
        block = self._block(c)
        smooth = self.x[block : block + n_linear] @ own
        values = np.linalg.lstsq(templates.T, smooth, rcond=None)[0]
        scale = (
            max(float(smooth.sum()), 1.0) / n_linear if isinstance(background, PolynomialBackground) else 1.0
        )
        low = -100.0 if background.family == "chebyshev" else 0.0
        samples = []
        for k in range(n_linear):
            parameter = f"{name} background {k}"
            start = float(np.clip(values[k] / scale, low, 100.0))
            self._parameter(parameter, start, low, max(100.0, 10 * start))
            modifiers = [{"name": parameter, "type": "normfactor", "data": None}]
            data = (scale * templates[k]).tolist()
            samples.append({"name": f"background {k}", "data": data, "modifiers": modifiers})
        return samples

    def _slope(self, c: int, name: str) -> Sample:
        begin, end = self._rows(c)
        rows, block = self.batch.rows, self._block(c)
        assert isinstance(self.backgrounds[name], OneSlopeBackground)
        beta, slope = self.x[block], self.x[block + 1]
        covariance = response(self.batch, 0, self.x).covariance
        error = float(np.sqrt(covariance[block + 1, block + 1]))
        step = min(STEP_SIGMAS * error, WIDEST_STEP) or WIDEST_STEP
        position, width, scale = (
            values[begin:end] for values in (rows.slope_position, rows.slope_width, rows.slope_scale)
        )

        def shape(steepness: float) -> Floats:
            z = 0.5 * steepness * width
            near = np.abs(z) < 1e-6
            ratio = np.where(near, 1.0, np.sinh(z) / np.where(near, 1.0, z))
            return np.asarray(scale * np.exp(steepness * position) * ratio)

        nominal = shape(slope)
        factor, alpha = f"{name} background 0", f"{name} slope"
        self._parameter(factor, 1.0, 0.0, 100.0)
        self._parameter(alpha, 0.0, -10.0, 10.0)
        kappa = {
            "hi": (shape(slope + step) / nominal).tolist(),
            "lo": (shape(slope - step) / nominal).tolist(),
        }
        modifiers = [
            {"name": factor, "type": "normfactor", "data": None},
            {"name": alpha, "type": "normsys", "data": kappa},  # one κ per bin: split by _in_bin
        ]
        return {"name": "background 0", "data": (beta * nominal).tolist(), "modifiers": modifiers}


def _in_bin(samples: Sequence[Sample], r: int) -> list[Sample]:
    """The samples of a channel of bin r alone."""

    def part(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if "hi_data" in data:
            return {key: [values[r]] for key, values in data.items()}
        return {key: values[r] if isinstance(values, list) else values for key, values in data.items()}

    return [
        {
            "name": sample["name"],
            "data": [sample["data"][r]],
            "modifiers": [modifier | {"data": part(modifier["data"])} for modifier in sample["modifiers"]],
        }
        for sample in samples
    ]
