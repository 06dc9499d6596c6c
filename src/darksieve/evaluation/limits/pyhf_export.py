"""Search documents as HistFactory workspaces in pyhf's JSON, with a patch set over the masses.

What HistFactory says otherwise than the document, and what the closure number (``export_closure``) measures:

- Polynomials become one sample per Bernstein polynomial with a free normalisation: the same functions.
- A free slope (exponential, power) multiplies every bin by κ^α, one channel per bin, with steps so wide that
  the unit constraint of α hardly holds it.
- Log-normal effects are ``normsys``: exact with code1, to some 1e-6 with pyhf's code4.
- Linear ones, and nuisances on mean and width, are ``histosys``. The document's parabola is exact with code2;
  for pyhf's code4p its curvature at zero is kept, not the templates at ±1 σ (below 1e-3 in the limit for a
  width of 10 %). Effects of several nuisances on one template add where the document multiplies: width and
  scale together change observed limits by up to 3e-3.
- Lists of backgrounds cannot be said: the best fit's family is exported. The parameter of interest starts at
  zero, as pyhf's q̃ wants it. Blind documents get their expectation as observation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darksieve.evaluation.limits.compile import fitted_points
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.engine import upper_limits
from darksieve.evaluation.limits.impacts import position_of
from darksieve.evaluation.limits.interpolation import parse_interpolation
from darksieve.evaluation.limits.problem import Floats
from darksieve.evaluation.limits.pyhf_point import Histosys, PointExport
from darksieve.evaluation.limits.workspace import Workspace
from darksieve.evaluation.limits.workspace_asymptotics import asymptotic_answer


@dataclass(frozen=True, eq=False)
class ExportClosure:
    """Limits of exported workspaces, relative to those of the document on the same bins.

    Attributes:
        labels: Of the points.
        observed: Exported over own, minus one, shape (n_points,); NaN while blind.
        expected: The same for the five levels, shape (n_points, 5).
    """

    labels: tuple[str, ...]
    observed: Floats
    expected: Floats

    @property
    def largest(self) -> float:
        """The largest relative difference; NaN where an answer failed."""
        expected = np.abs(self.expected)
        observed = np.abs(self.observed[~np.isnan(self.observed)])
        return float(np.max(np.concatenate([expected.ravel(), observed])))


def export_workspace(
    model: SearchModel, label: str, *, histosys: Histosys = "code4p", poi_scale: float = 1.0
) -> dict[str, Any]:
    """One point of a search document as a HistFactory workspace.

    Args:
        model: The document, its files read.
        label: Of the point.
        histosys: Interpolation code with which the workspace will be read; pyhf's default is code4p.
        poi_scale: The parameter of interest counts so many units of the document's parameter; for tiny units
            (a branching fraction) choose one that makes the limit of the order of one, as fitters like it.

    Raises:
        InputError: If there is no such point.
        ValueError: If the fit of the background fails.
    """
    return PointExport(model, position_of(model, label), histosys, poi_scale).workspace()


def export_patchset(
    model: SearchModel,
    *,
    histosys: Histosys = "code4p",
    poi_scale: float = 1.0,
    hepdata: str = "ins0000000",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first point's workspace, and a patch set that makes every fitted point's workspace of it.

    A patch is named as its point, with underscores for all but letters and digits (pyhf's rule).

    Args:
        model: The document, its files read.
        histosys: As for ``export_workspace``.
        poi_scale: As for ``export_workspace``.
        hepdata: INSPIRE number of the record, which pyhf wants; zeros as long as there is none.
    """
    documents = {
        model.points[i].label: (model.points[i].mass, PointExport(model, i, histosys, poi_scale).workspace())
        for i in fitted_points(model)
    }
    first = next(iter(documents.values()))[1]
    text = json.dumps(first, sort_keys=True, ensure_ascii=False).encode("utf-8")  # as pyhf digests it
    names = _patch_names(list(documents))
    patches = [
        {
            "metadata": {"name": name, "values": [label if mass is None else mass]},
            "patch": _changes(first, document),
        }
        for name, (label, (mass, document)) in zip(names, documents.items(), strict=True)
    ]
    metadata = {
        "references": {"hepdata": hepdata},
        "digests": {"sha256": hashlib.sha256(text).hexdigest()},
        "description": f"Points of a scan, limits on {model.parameter.name} [{model.parameter.unit}]",
        "labels": ["mass"],
    }
    return first, {"metadata": metadata, "patches": patches, "version": "1.0.0"}


def export_closure(
    model: SearchModel,
    labels: Sequence[str] | None = None,
    *,
    interpolation: str | None = None,
    confidence_level: float = 0.95,
) -> ExportClosure:
    """Asymptotic limits of exported workspaces, read back, against those of the document.

    Args:
        model: The document, its files read.
        labels: Of the points; None for all that are fitted.
        interpolation: With which the workspaces are read, such as ``normsys=code1,histosys=code2``; pyhf's
            defaults otherwise.
        confidence_level: Of the limits.
    """
    codes = parse_interpolation(interpolation)
    histosys: Histosys = "code2" if codes["histosys"] == "code2" else "code4p"
    chosen = [model.points[i].label for i in fitted_points(model)] if labels is None else list(labels)
    observed, expected = np.full(len(chosen), np.nan), np.full((len(chosen), 5), np.nan)
    for k, label in enumerate(chosen):
        export = PointExport(model, position_of(model, label), histosys, 1.0)
        own = upper_limits(export.batch, confidence_level=confidence_level, threads=1)
        workspace = Workspace.parse(export.workspace(), interpolation=codes)
        back = asymptotic_answer(workspace, confidence_level)
        if back.expected is not None:
            expected[k] = np.array(back.expected) / own.expected[0] - 1
        if back.observed is not None and not model.blind:
            observed[k] = back.observed / own.observed[0] - 1
    return ExportClosure(tuple(chosen), observed, expected)


def _patch_names(labels: Sequence[str]) -> list[str]:
    """Labels with what pyhf does not allow in a patch's name as underscores; numbered if that makes twins."""
    names = [re.sub(r"[^A-Za-z0-9_]", "_", label) for label in labels]
    return [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]


def _changes(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JSON patch from one workspace to another: whole samples where the layout is the same."""

    def layout(document: Mapping[str, Any]) -> Any:
        return [
            (ch["name"], [s["name"] for s in ch["samples"]], len(ch["samples"][0]["data"]))
            for ch in document["channels"]
        ]

    changes: list[dict[str, Any]] = []
    if layout(first) == layout(other):
        for i, (a, b) in enumerate(zip(first["channels"], other["channels"], strict=True)):
            changes += [
                {"op": "replace", "path": f"/channels/{i}/samples/{j}", "value": theirs}
                for j, (mine, theirs) in enumerate(zip(a["samples"], b["samples"], strict=True))
                if mine != theirs
            ]
    else:
        changes.append({"op": "replace", "path": "/channels", "value": other["channels"]})
    if first["observations"] != other["observations"]:
        changes.append({"op": "replace", "path": "/observations", "value": other["observations"]})
    settings = other["measurements"][0]["config"]["parameters"]
    if first["measurements"][0]["config"]["parameters"] != settings:
        path = "/measurements/0/config/parameters"
        changes.append({"op": "replace", "path": path, "value": settings})
    return changes
