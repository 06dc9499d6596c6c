"""Tables of a limit curve in the form that HEPData takes (submission.yaml and one YAML file per table)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from darksieve.atomic import write_text
from darksieve.evaluation.limits.curve import LimitCurve, LimitPoint


def save_hepdata(curve: LimitCurve, folder: str | Path, *, mass_name: str = "$m$") -> None:
    """Write ``submission.yaml``, ``limits.yaml`` and, with data, ``p_values.yaml`` into a folder.

    Only points with a mass and with numbers are in the tables, as HEPData's independent variable is the mass.

    Args:
        curve: The limits.
        folder: Made if it does not exist.
        mass_name: Header of the mass column.
    """
    folder = Path(folder)
    points = [point for point in curve.points if point.succeeded and point.mass is not None]
    mass = [
        {"header": {"name": mass_name, "units": "GeV"}, "values": [{"value": point.mass} for point in points]}
    ]
    unit = {} if curve.parameter.unit == "1" else {"units": curve.parameter.unit}
    percent = f"{100 * curve.confidence_level:g}%"

    def column(name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
        return {"header": {"name": name, **unit}, "values": values}

    low2, low1, median, high1, high2 = curve.band_keys
    expected: list[dict[str, Any]] = []
    for point in points:
        band = point.expected or {}
        centre = band.get(median)
        if centre is None:
            expected.append({"value": "-"})
            continue
        errors: list[dict[str, Any]] = []
        for label, low, high in (
            ("1 sigma", band.get(low1), band.get(high1)),
            ("2 sigma", band.get(low2), band.get(high2)),
        ):
            if low is not None and high is not None:
                errors.append({"asymerror": {"minus": low - centre, "plus": high - centre}, "label": label})
        expected.append({"value": centre, "errors": errors} if errors else {"value": centre})
    columns = [column(f"Expected {percent} CLs upper limit on {curve.parameter.name}", expected)]
    tables = {"limits": f"Upper limits at {percent} confidence level ({curve.bands} bands)"}
    if any(point.observed is not None for point in points):
        observed = [{"value": "-" if point.observed is None else point.observed} for point in points]
        columns.insert(0, column(f"Observed {percent} CLs upper limit on {curve.parameter.name}", observed))
        tables["p_values"] = "Local p-values of the background-only hypothesis and best fits"
    contents: dict[str, dict[str, Any]] = {
        "limits": {"independent_variables": mass, "dependent_variables": columns}
    }
    if "p_values" in tables:
        local = [{"value": "-" if point.p0 is None else point.p0} for point in points]
        best = [_with_errors(point) for point in points]
        contents["p_values"] = {
            "independent_variables": mass,
            "dependent_variables": [
                {"header": {"name": "Local p-value"}, "values": local},
                column(f"Best fit of {curve.parameter.name}", best),
            ],
        }
    documents: list[dict[str, Any]] = [{"comment": f"Limits on {curve.parameter.name}, written by darksieve"}]
    for name, description in tables.items():
        write_text(
            folder / f"{name}.yaml", yaml.safe_dump(contents[name], sort_keys=False, allow_unicode=True)
        )
        documents.append(
            {"name": name, "description": description, "keywords": [], "data_file": f"{name}.yaml"}
        )
    write_text(folder / "submission.yaml", yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True))


def _with_errors(point: LimitPoint) -> dict[str, Any]:
    if point.best_fit is None:
        return {"value": "-"}
    low, high = point.best_fit_error or (None, None)
    if low is None or high is None:
        return {"value": point.best_fit}
    errors = [{"asymerror": {"minus": low, "plus": high}, "label": "total"}]
    return {"value": point.best_fit, "errors": errors}
