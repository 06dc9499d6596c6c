"""The continuum BDT on event shapes alone, beside LightGBM on the same rows, and what decorrelation costs.

Simulated B+ → K+ a against continuum (darksieve's toy simulation), in folds by event, so that every event
is scored by a model that has not seen it. Events on which the default options were compared are in no figure.
Two samples: loose candidates, as those for which others quote areas (the wider Mbc and ΔE, the more do shapes
tell), and the candidates of the preset b_to_k_alp, on which decorrelation is judged.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.continuum_samples import LOOSE, PRESET, Candidates, continuum_candidates
from benchmarks.entries import entry
from darksieve.datasets.events import Events, Role, SampleInfo
from darksieve.datasets.folds import fold_of, hash_event_key
from darksieve.evaluation.bootstrap import bootstrap_draws
from darksieve.evaluation.leakage import measure_leakage
from darksieve.evaluation.separation import weighted_auc
from darksieve.models.bdt import Bdt
from darksieve.training.decorrelation import Decorrelation, rank_correlation
from darksieve.training.folds_training import train_bundle

COMMAND = "python -m benchmarks.continuum"
FOLDS = {LOOSE: 5, PRESET: 2}  # of the rows, all but one train
WATCHED = ("Mbc", "deltaE")
METHODS = ("none", "dropping", "planing", "penalty")
RECOMMENDED = "penalty"  # held to the bars; the others are shown beside it
EFFICIENCIES = (0.9, 0.7, 0.5)
BACKGROUND_EFFICIENCY = (
    0.02  # background efficiency at which the enrichment of the signal region is looked at
)
N_BOOTSTRAP = 40
CURVE = (0.25, 0.5)  # shares of the training rows, beside all of them


@dataclass(frozen=True)
class Scored:
    """Scores of all candidates by models that have not seen them, shape (n,)."""

    sample: Candidates
    fold: NDArray[np.int8]
    key: NDArray[np.uint64]
    score: NDArray[np.float64]

    @property
    def folds(self) -> range:
        """Numbers of the folds."""
        return range(int(self.fold.max()) + 1)

    def auc(self, rows: NDArray[np.bool_] | None = None, weight: NDArray | None = None) -> float:
        """Mean over the folds of the area under the ROC curve of some rows."""
        rows = ~self.sample.tuning if rows is None else rows & ~self.sample.tuning
        areas = []
        for k in self.folds:
            own = rows & (self.fold == k)
            weights = None if weight is None else weight[own]
            areas.append(weighted_auc(self.score[own], self.sample.label[own], weights))
        return float(np.mean(areas))

    def surviving(self, efficiency: float) -> int:
        """Background candidates above each fold's threshold of a signal efficiency."""
        total = 0
        for k in self.folds:
            own = (self.fold == k) & ~self.sample.tuning
            s, y = self.score[own], self.sample.label[own]
            total += int(np.sum(s[y == 0] >= np.quantile(s[y == 1], 1 - efficiency)))
        return total

    def kept(self, background_efficiency: float) -> NDArray[np.bool_]:
        """Background candidates above each fold's threshold of a background efficiency, shape (n,)."""
        kept = np.zeros(len(self.fold), bool)
        for k in self.folds:
            own = (self.fold == k) & (self.sample.label == 0) & ~self.sample.tuning
            kept |= own & (self.score >= np.quantile(self.score[own], 1 - background_efficiency))
        return kept


def bootstrap(scored: list[Scored], rows: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Errors of the first one's area, and of its difference to the last one's on the same events."""
    first, last = scored[0], scored[-1]
    values = []
    for replicate in range(N_BOOTSTRAP):
        weight = bootstrap_draws(first.key, replicate=replicate, seed=1).astype(np.float64)
        values.append((first.auc(rows, weight), last.auc(rows, weight)))
    a, b = np.array(values).T
    return float(a.std(ddof=1)), float((a - b).std(ddof=1))


def as_events(sample: Candidates) -> Events:
    """The candidates as the training takes them."""
    columns: dict[str, NDArray] = dict(zip(sample.features, sample.x.T, strict=True))
    n = len(sample.label)
    return Events(
        columns=columns | sample.others,
        samples=(SampleInfo("continuum", Role.BACKGROUND), SampleInfo("signal", Role.SIGNAL)),
        sample_index=sample.label.astype(np.int16),
        weight=np.ones(n),
        mass=np.where(sample.label == 1, sample.others["M_gg"], np.nan),
        key=hash_event_key({"__event__": sample.event}),
        candidate=np.zeros(n, np.int32),
    )


def trained(events: Events, sample: Candidates, n_folds: int, method: Any = "none") -> Scored:
    """The default BDT, with a way of decorrelation."""
    _, scores, _ = train_bundle(
        events,
        model="bdt",
        features=sample.features,
        n_folds=n_folds,
        mass_column=None,
        decorrelation=Decorrelation(WATCHED, method),
    )
    return Scored(sample, scores.fold, events.key, scores.score.astype(np.float64))


def lightgbm_scores(sample: Candidates, fold: NDArray, **options: Any) -> NDArray[np.float64]:
    """Out-of-fold scores of LightGBM, classes at equal total weight."""
    from lightgbm import LGBMClassifier

    score = np.empty(len(fold))
    for k in range(int(fold.max()) + 1):
        fit = fold != k
        y = sample.label[fit]
        weight = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
        model = LGBMClassifier(n_jobs=1, verbose=-1, **options).fit(sample.x[fit], y, sample_weight=weight)
        score[~fit] = model.predict_proba(sample.x[~fit])[:, 1]
    return score


def _entry(
    name: str,
    value: float,
    bar: float | None = None,
    *,
    at_least: bool = False,
    peer: float | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    judged = value if ratio is None else ratio
    passed = None if bar is None else bool(judged >= bar if at_least else judged <= bar)
    return entry("continuum", COMMAND, name, value, bar, peer, ratio, passed)


def separation(sample: Candidates, scored: Scored, where: str, *, judged: bool) -> list[dict[str, Any]]:
    """AUC and surviving background, LightGBM beside it, and what single features reach.

    Args:
        sample: Candidates.
        scored: The default BDT on them.
        where: Their selection, in words.
        judged: Whether the bars are on this sample.
    """
    peer = Scored(sample, scored.fold, scored.key, lightgbm_scores(sample, scored.fold))
    error, paired = bootstrap([scored, peer])
    n_training = int(np.sum(scored.fold != 0))
    n_background = int(np.sum(~sample.tuning & (sample.label == 0)))
    auc = scored.auc()
    entries = [
        _entry(f"rows in the training of a fold, {where}", n_training, 75_000, at_least=True),
        _entry(
            f"AUC, event shapes alone, {where} (± {error:.4f})",
            auc,
            0.989 if judged else None,
            at_least=True,
            peer=peer.auc(),
        ),
        _entry(f"AUC less that of LightGBM's defaults, {where} (± {paired:.4f})", auc - peer.auc()),
    ]
    if judged:
        entries.append(_entry("AUC below which no leak is suspected", auc, 0.993))
    for efficiency in EFFICIENCIES:
        own, other = scored.surviving(efficiency), peer.surviving(efficiency)
        bar = 1.0 if efficiency == 0.7 and judged else None
        name = (
            f"continuum of {n_background} left at {efficiency:.0%} signal, over LightGBM's defaults, {where}"
        )
        entries.append(_entry(name, own, bar, peer=other, ratio=own / max(other, 1)))
    entries += _in_region(sample, scored, peer, where, judged=not judged)
    alone = [(max(a, 1 - a), f) for f, a in _alone(sample)]
    entries += [_entry(f"AUC of {feature} alone, {where}", area) for area, feature in sorted(alone)[-3:]]
    return entries


def _in_region(
    sample: Candidates, scored: Scored, peer: Scored, where: str, *, judged: bool
) -> list[dict[str, Any]]:
    region = sample.in_signal_region
    error, _ = bootstrap([scored], region)
    n = int(np.sum(~sample.tuning & (sample.label == 0) & region))
    name = f"AUC for Mbc > 5.27 GeV, |ΔE| < 0.2 GeV, {where} (± {error:.4f})"
    return [
        _entry(name, scored.auc(region), peer=peer.auc(region)),
        _entry(f"continuum candidates there, {where}", n, 10_000 if judged else None, at_least=True),
    ]


def larger_models(sample: Candidates, scored: Scored) -> list[dict[str, Any]]:
    """What these features give to the mean of the default BDT and LightGBM of 1000 trees."""
    larger = lightgbm_scores(
        sample, scored.fold, n_estimators=1000, num_leaves=31, learning_rate=0.05, colsample_bytree=0.5,
        subsample=0.8, subsample_freq=1, min_child_samples=50,
    )  # fmt: skip
    odds = [np.log(np.clip(s, 1e-9, 1)) - np.log(np.clip(1 - s, 1e-9, 1)) for s in (scored.score, larger)]
    one = Scored(sample, scored.fold, scored.key, larger)
    mean = Scored(sample, scored.fold, scored.key, np.mean(odds, axis=0))
    return [
        _entry("AUC of LightGBM of 1000 trees", one.auc()),
        _entry("AUC of its mean with the default BDT: what these features give", mean.auc()),
    ]


def _alone(sample: Candidates) -> list[tuple[str, float]]:
    return [(f, weighted_auc(x, sample.label)) for f, x in zip(sample.features, sample.x.T, strict=True)]


def learning_curve(sample: Candidates, fold: NDArray) -> list[dict[str, Any]]:
    """The area for fewer training rows."""
    fit, ask = np.flatnonzero(fold != 0), (fold == 0) & ~sample.tuning
    key = hash_event_key({"__event__": sample.event})
    entries = []
    for share in CURVE:
        some = fit[fold_of(key[fit], 100, 5) < 100 * share]
        model = Bdt(patience=0).fit(sample.x[some], sample.label[some])
        area = weighted_auc(model.predict_proba(sample.x[ask])[:, 1], sample.label[ask])
        entries.append(_entry(f"AUC after {len(some)} training rows", area))
    return entries


def decorrelation(sample: Candidates, scored: dict[str, Scored]) -> list[dict[str, Any]]:
    """What is left of Mbc and ΔE in the score of each method, and what it costs in the signal region."""
    background, region = (sample.label == 0) & ~sample.tuning, sample.in_signal_region
    peak = sample.others["Mbc"] > 5.27
    before = float(peak[background].mean())
    told = measure_leakage(sample.x[background], sample.features, sample.others["Mbc"][background], "Mbc")
    entries = [_entry(f"rank correlation of Mbc with its regression (± {told.error:.3f})", told.together)]
    for method, own in scored.items():
        bar = method == RECOMMENDED
        for variable in WATCHED:
            rho = rank_correlation(own.score[background], sample.others[variable][background])
            name = f"|rank correlation| of score and {variable} in background, {method}"
            entries.append(_entry(name, abs(rho), 0.05 if bar else None))
        kept = own.kept(BACKGROUND_EFFICIENCY)
        ratio = float(peak[kept].mean()) / before
        error = ratio * np.sqrt((1 - peak[kept].mean()) / max(peak[kept].sum(), 1))
        name = f"enrichment of Mbc > 5.27 GeV at 2 % background, {method} (± {error:.2f})"
        entry = _entry(name, ratio)
        if bar:
            entry |= {"bar": 1.3, "passed": bool(1 / 1.3 <= ratio <= 1.3)}
        entries.append(entry)
        if method != "none":
            _, paired = bootstrap([scored["none"], own], region)
            loss = scored["none"].auc(region) - own.auc(region)
            name = f"loss of AUC in the region, {method} (± {paired:.4f})"
            entries.append(_entry(name, loss, 0.002 if bar else None))
    return entries


def measure() -> list[dict[str, Any]]:
    """All figures, from the two samples."""
    sample = continuum_candidates(LOOSE)
    start = time.process_time()
    scored = trained(as_events(sample), sample, FOLDS[LOOSE])
    seconds = (time.process_time() - start) * 1e5 / (len(sample.label) * (FOLDS[LOOSE] - 1))
    entries = [
        *separation(sample, scored, LOOSE.name, judged=True),
        _entry("CPU seconds per 10⁵ training rows, one thread, scores of all rows included", seconds, 20.0),
        *larger_models(sample, scored),
        *learning_curve(sample, scored.fold),
    ]
    sample = continuum_candidates(PRESET)
    events = as_events(sample)
    by_method = {method: trained(events, sample, FOLDS[PRESET], method) for method in METHODS}
    entries += separation(sample, by_method["none"], PRESET.name, judged=False)
    return entries + decorrelation(sample, by_method)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1, default=float, ensure_ascii=False))
