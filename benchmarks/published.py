"""The 2020 search in its style beside what it published, and what each later idea gains.

    python -m benchmarks.published

Nothing here is tuned to the published limits: the entries report ratios, and pass if every bin has one. The
first run is the preset `gamma_alp_2020`; the others change one thing at a time, on the same samples.
"""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.config_loading import load_config
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.published import compare_with_published, published_limits
from darksieve.workflow.chain import run_chain

COMMAND = "python -m benchmarks.published"
PUBLISHED = "belle2_2020_gamma_alp"
ASYMPTOTIC = ["scan.method=asymptotic", "tracking.enabled=false"]
FITTED = [
    "candidates.pairings.kinematic_fit=true",
    "candidates.pairings.momentum=[fit_px, fit_py, fit_pz, fit_E]",
    *(f"channels.{name}.observable=M_gg" for name in ("lowest", "low", "middle", "high")),
]
NETWORK = ["classifiers=[{name: photons, model: photon_network, folds: 5, max_rows: 300000}]"]
STEPS = {
    "2020 style": [],
    "with the kinematic fit": FITTED,
    "with the network in 4 categories, too": [*FITTED, *NETWORK],
}


def resolution(model: SearchModel, masses: NDArray, *, squared: bool) -> NDArray[np.float64]:
    """Width of the signal's core in GeV of mass, last channel of each point, interpolated to the masses."""
    at, width = [], []
    for point in model.points:
        if point.channels:
            signal = list(point.channels.values())[-1]
            at.append(point.mass)
            width.append(signal.sigma / (2 * point.mass) if squared else signal.sigma)
    return np.interp(masses, at, width)


def run_steps(folder: Path) -> dict[str, tuple[LimitCurve, SearchModel]]:
    """Limits and search document of each step."""
    found = {}
    for name, changes in STEPS.items():
        config = load_config("gamma_alp_2020", [*ASYMPTOTIC, *changes])
        run_chain(config, folder / "run", "scan", workers=2)
        curve = LimitCurve.load(folder / "run" / "limits.json")
        found[name] = (curve, SearchModel.load(folder / "run" / "search.json"))
    return found


def measure() -> list[dict[str, Any]]:
    """One entry for each published bin, one for each gain."""
    with tempfile.TemporaryDirectory() as name:
        steps = run_steps(Path(name))
    published = published_limits(PUBLISHED)
    compared = {}
    for name, (curve, _) in steps.items():
        good = np.isfinite(curve.expected())
        compared[name] = compare_with_published(
            curve.masses[good],
            curve.expected()[good],
            published,
            luminosity_fb=0.445,
            confidence_level=curve.confidence_level,
        )
    common = {"area": "chain", "command": COMMAND, "bar": None}
    first = compared["2020 style"]
    entries = [
        common
        | {
            "name": f"expected over published limit, {low:g} to {high:g} GeV",
            "value": float(first.expected[i]),
            "peer": float(published.median[i]),
            "ratio": float(first.ratio[i]),
            "passed": bool(np.isfinite(first.ratio[i])),
        }
        for i, (low, high) in enumerate(zip(published.low, published.high, strict=True))
    ]
    names = list(STEPS)
    for before, after in pairwise(names):
        for low, high in ((0.2, 1.0), (1.0, 4.0), (4.0, 6.85), (6.85, 9.7)):
            inside = (published.centre >= low) & (published.centre < high)
            gain = float(np.nanmedian((compared[before].expected / compared[after].expected)[inside]))
            masses = published.centre[inside]
            widths = [
                resolution(steps[step][1], masses, squared=step == names[0]) for step in (before, after)
            ]
            entries.append(
                common
                | {
                    "name": f"limit {after} is better by, {low:g} to {high:g} GeV",
                    "value": gain,
                    "peer": before,
                    "ratio": gain,
                    "resolution_ratio": float(np.median(widths[0] / widths[1])),
                    "passed": bool(np.isfinite(gain)),
                }
            )
    return entries


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
