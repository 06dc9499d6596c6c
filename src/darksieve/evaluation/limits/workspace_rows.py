"""The parameters and blocks of a workspace, laid out as the flat arrays of the compiled likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.histfactory_kernel import PLAIN, Model
from darksieve.evaluation.limits.interpolation import code4_coefficients


@dataclass
class ParameterSet:
    """One named set of parameters, a scalar or one per bin."""

    kind: str
    size: int
    constraint: int
    init: list[float]
    lower: list[float]
    upper: list[float]
    auxiliary: list[float] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    start: int = -1


class WorkspaceRows:
    """The blocks of a workspace, collected into flat arrays."""

    def __init__(self) -> None:
        self.channel: list[int] = []
        self.nominal: list[float] = []
        self.block_cell: list[int] = []
        self.factors: list[tuple[int, int, list[float]]] = []
        self.factor_start = [0]
        self.shifts: list[tuple[int, int, int]] = []
        self.shift_start = [0]
        self.shift_low: list[float] = []
        self.shift_high: list[float] = []
        self.gammas: list[int] = []
        self.gamma_start = [0]
        self.gamma_parameter: list[int] = []

    def add(
        self, channel: int, data: list[float], modifiers: Sequence[Any],
        parameters: Mapping[str, ParameterSet], codes: Mapping[str, int],
    ) -> None:  # fmt: skip
        self.channel.append(channel)
        self.block_cell.append(len(self.nominal))
        self.nominal += data
        for modifier in modifiers:
            kind, content, p = modifier["type"], modifier.get("data"), parameters[modifier["name"]]
            if kind in ("normfactor", "lumi"):
                self.factors.append((p.start, PLAIN, [0.0] * 8))
            elif kind == "normsys":
                low, high = float(content["lo"]), float(content["hi"])
                table = (
                    [low, high, *code4_coefficients(low, high)]
                    if codes["normsys"] == 4
                    else [low, high] + [0.0] * 6
                )
                self.factors.append((p.start, codes["normsys"], table))
            elif kind == "histosys":
                self.shifts.append((p.start, codes["histosys"], len(self.shift_low)))
                self.shift_low += [n - low for n, low in zip(data, content["lo_data"], strict=True)]
                self.shift_high += [high - n for n, high in zip(data, content["hi_data"], strict=True)]
            else:
                self.gammas.append(len(self.gamma_parameter))
                self.gamma_parameter += [p.start + i for i in range(p.size)]
        self.factor_start.append(len(self.factors))
        self.shift_start.append(len(self.shifts))
        self.gamma_start.append(len(self.gammas))

    def model(self, sizes: Sequence[int], constraint: NDArray[np.int64], scale: NDArray[np.float64]) -> Model:
        def integers(values: Sequence[int]) -> NDArray[np.int64]:
            return np.array(values, np.int64)

        return Model(
            channel_block=np.searchsorted(self.channel, np.arange(len(sizes) + 1)).astype(np.int64),
            channel_bin=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            nominal=np.array(self.nominal),
            block_cell=integers(self.block_cell),
            factor_start=integers(self.factor_start),
            factor_parameter=integers([p for p, _, _ in self.factors]),
            factor_code=integers([code for _, code, _ in self.factors]),
            factor_table=np.array([table for _, _, table in self.factors], np.float64).reshape(-1, 8),
            shift_start=integers(self.shift_start),
            shift_parameter=integers([p for p, _, _ in self.shifts]),
            shift_code=integers([code for _, code, _ in self.shifts]),
            shift_cell=integers([cell for _, _, cell in self.shifts]),
            shift_low=np.array(self.shift_low, np.float64),
            shift_high=np.array(self.shift_high, np.float64),
            gamma_start=integers(self.gamma_start),
            gamma_cell=integers(self.gammas),
            gamma_parameter=integers(self.gamma_parameter),
            constraint=constraint,
            scale=scale,
            kinked=self._kinked(len(constraint)),
        )

    def _kinked(self, n_parameters: int) -> NDArray[np.bool_]:
        kinked = np.zeros(n_parameters, np.bool_)
        for p, code, table in self.factors:
            kinked[p] |= code == 1 or (code == 0 and table[1] - 1 != 1 - table[0])
        for p, code, _ in self.shifts:
            kinked[p] |= code == 0
        return kinked
