"""A preset of a search in B decays end to end, and its limit together beside what its parts add up to."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.entries import entry as figure
from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.document import SearchModel

MAX_SECONDS = 900.0  # from cached candidates, two cores
MAX_GB = 6.0
CLOSURE = 0.03
N_MASSES = 12
WORKERS = 2


def run_preset(name: str, run: Path) -> tuple[float, float]:
    """Seconds from cached samples and candidates, and GB of the largest process.

    The first pass fills the cache; the second, in a new folder, is measured.
    """
    entry = "from darksieve.cli import main; main()"

    def once(folder: Path, *more: str) -> float:
        began = time.perf_counter()
        command = [
            sys.executable, "-c", entry, *more, name, "-o", str(folder), "--workers", str(WORKERS),
            "--set", "tracking.enabled=false",
        ]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return time.perf_counter() - began

    once(run.with_name(f"{run.name}-first"), "simulate")
    seconds = once(run, "run")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def part_of(model: SearchModel, channels: Sequence[str], labels: Sequence[str]) -> SearchModel:
    """The document with some of its channels, at the points of these labels that have any of them."""
    document = model.to_json()
    document["channels"] = [c for c in document["channels"] if c["name"] in channels]
    points = []
    for point in document["points"]:
        own = {name: entry for name, entry in point.get("channels", {}).items() if name in channels}
        if own and point["label"] in labels:
            points.append(point | {"channels": own})
    document["points"] = points
    nuisances = []
    for nuisance in document.get("nuisances", []):
        within = [name for name in nuisance.get("channels", channels) if name in channels]
        if within:
            nuisances.append(nuisance | ({"channels": within} if "channels" in nuisance else {}))
    document["nuisances"] = nuisances
    return SearchModel.parse(document, source="part of a search")


def asimov_information(model: SearchModel, strength: float, confidence_level: float) -> float:
    """Test statistic of a strength on the background-only Asimov set, from the median expected CLs."""
    curve = answer_documents(
        [model], confidence_level=confidence_level, method="asymptotic", cls_at=strength, look_elsewhere=False
    )
    (point,) = curve.points
    median = (point.cls_expected or {}).get("0")
    assert median is not None
    return float(norm.isf(median / 2) ** 2)


def closure(run: Path, parts: Mapping[str, Sequence[str]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Masses, and the limit together over that at which the parts' information adds up to the limit's.

    The parts share no candidate, so but for shared nuisances their test statistics on Asimov sets add up.

    Args:
        run: A run's folder.
        parts: Names of parts -> their channels in ``search.json``.
    """
    model = SearchModel.load(run / "search.json")
    limits = json.loads((run / "limits.json").read_text(encoding="utf-8"))
    level = limits["confidence_level"]
    wanted = norm.isf((1 - level) / 2) ** 2
    good = [p for p in limits["points"] if p["expected"] and p["expected"]["0"]]
    masses, ratios = [], []
    for i in np.unique(np.linspace(0, len(good) - 1, N_MASSES).astype(int)):
        point = good[i]
        total = 0.0
        for channels in parts.values():
            own = (
                part_of(model, channels, [point["label"]]) if _has(model, channels, point["label"]) else None
            )
            if own is not None:
                total += asimov_information(own, point["expected"]["0"], level)
        masses.append(point["mass"])
        ratios.append(np.sqrt(total / wanted))  # information goes with the square of the strength nearby
    return np.array(masses), np.array(ratios)


def _has(model: SearchModel, channels: Sequence[str], label: str) -> bool:
    return any(p.label == label and set(channels) & set(p.channels) for p in model.points)


def parts_of(run: Path) -> dict[str, list[str]]:
    """Channel of the config -> its categories in the search document."""
    points = json.loads((run / "working_points.json").read_text(encoding="utf-8"))
    n = points["n_categories"]
    names = [c.name for c in SearchModel.load(run / "search.json").channels]
    return {
        channel: [c for c in names if c == channel or (n > 1 and c.rpartition("_")[0] == channel)]
        for channel in points["boundaries"]
    }


def statuses(run: Path) -> dict[str, int]:
    """Working points by status."""
    points = json.loads((run / "working_points.json").read_text(encoding="utf-8"))["points"]
    return dict(Counter(point["status"] for point in points))


def entries_of(name: str, command: str, folder: Path) -> list[dict[str, Any]]:
    """Seconds, memory, closure and statuses of a preset."""
    run = folder / name
    seconds, gigabytes = run_preset(name, run)
    masses, ratios = closure(run, parts_of(run))
    worst = int(np.argmax(np.abs(ratios - 1)))
    by_mass = ", ".join(f"{m:.3g} GeV: {r:.3f}" for m, r in zip(masses, ratios, strict=True))

    def entry(
        what: str, value: float, bar: str | None, passed: bool | None, note: str = ""
    ) -> dict[str, Any]:
        return figure("b-searches", command, f"{name}: {what}", value, bar, passed=passed, note=note)

    return [
        entry("seconds end to end, cached", seconds, f"< {MAX_SECONDS:.0f}", seconds < MAX_SECONDS),
        entry("GB of the largest process", gigabytes, f"< {MAX_GB:g}", gigabytes < MAX_GB),
        entry(
            f"limit together over closure of its parts, furthest from 1 (at {masses[worst]:.3g} GeV)",
            float(ratios[worst]), f"1 ± {CLOSURE:g}", bool(abs(ratios[worst] - 1) < CLOSURE), by_mass,
        ),
        *(
            entry(f"working points {status}", count, None, None)
            for status, count in sorted(statuses(run).items())
        ),
    ]  # fmt: skip
