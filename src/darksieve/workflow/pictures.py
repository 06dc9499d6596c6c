"""The pictures of a run, drawn from its files alone; plots never fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.plots.axes import MassAxis, name_particle
from darksieve.evaluation.plots.style import Drawing, SavedFigure, Stamp
from darksieve.workflow.context import Context

AXIS = {
    "cross_section": "cross section",
    "branching_fraction": "branching fraction",
    "signal events": "signal events",
}


class Pictures:
    """What the pictures of one run have in common, and where they are kept: under ``figures/``."""

    def __init__(self, context: Context, facts: Mapping[str, Any]) -> None:
        self.context = context
        self.config = context.config
        self.curve = LimitCurve.load(context.run / "limits.json")
        self.blind = bool(facts["blind"])
        self.data_label = facts["label"]
        self.injected = facts["injected"]
        simulated = any(sample.simulate is not None for sample in self.config.samples.values())
        self.simulation_note = "toy simulation" if simulated else ""
        self.note = self.simulation_note
        if self.data_label not in (None, "data"):
            self.note = ", ".join(filter(None, [self.note, str(self.data_label)]))
        self.saved: dict[str, SavedFigure] = {}
        self.axis = MassAxis(self.config.scan.vetoes)

    def stamp(self, *, shows_data: bool = True, luminosity: bool = True) -> Stamp:
        """What stands above a picture; one of simulation alone is neither blind nor of pseudo-data."""
        return Stamp(
            self.config.search,
            self.config.luminosity_fb if luminosity else None,
            self.note if shows_data else self.simulation_note,
            self.blind and shows_data,
        )

    def keep(self, name: str, drawing: Drawing) -> SavedFigure:
        """Save a picture as PNG, PDF and CSV."""
        name_particle(drawing.figure, self.config.interpretation.particle)
        self.saved[name] = drawing.save(self.context.run / "figures" / name)
        return self.saved[name]

    @property
    def with_limits(self) -> NDArray[np.bool_]:
        """Points of the scan that have a mass and an expected limit."""
        return np.isfinite(self.curve.masses) & np.isfinite(self.curve.expected())

    def processes(self, samples: NDArray[np.str_]) -> NDArray[np.str_]:
        """Process of each row from its sample, shape (n,)."""
        names, of_name = np.unique(samples, return_inverse=True)
        return np.array([self.config.process_of(str(name)) for name in names] or [""])[of_name]
