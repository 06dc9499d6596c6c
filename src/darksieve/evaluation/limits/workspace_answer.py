"""Limits of a HistFactory workspace as a point of a curve."""

from __future__ import annotations

import numpy as np

from darksieve.errors import InputError
from darksieve.evaluation.limits.counting import significance_of
from darksieve.evaluation.limits.curve import LimitPoint, Numbers
from darksieve.evaluation.limits.histfactory import Likelihood, background_under_signal
from darksieve.evaluation.limits.point_answers import Asked, exact_point, number, p0_from_toys, with_toys
from darksieve.evaluation.limits.workspace import Workspace
from darksieve.evaluation.limits.workspace_asymptotics import AsymptoticAnswer, asymptotic_answer
from darksieve.evaluation.limits.workspace_toys import WorkspaceToys


def check_exact_workspace(workspace: Workspace, source: str) -> None:
    """InputError unless the workspace is one bin whose only free parameter scales the signal."""
    if _as_count(workspace) is None:
        free = [name for name, is_free in zip(workspace.names, workspace.free, strict=True) if is_free]
        others = [name for name in free if name != workspace.poi_name]
        reason = f"nuisances ({', '.join(others[:4])})" if others else f"{workspace.counts.size} bins"
        raise InputError(
            f"{source}: exact limits are for one count over a known background, but this has {reason}; "
            "use --method toys or auto"
        )


def _as_count(workspace: Workspace) -> tuple[float, float, float] | None:
    # (count, signal per unit, background) of a single bin that only the parameter of interest changes
    if workspace.counts.size != 1 or int(workspace.free.sum()) != 1 or not workspace.free[workspace.poi]:
        return None
    likelihood = Likelihood(workspace)
    rates = []
    for strength in (0.0, 1.0, 2.0):
        x = workspace.start.copy()
        x[workspace.poi] = strength
        rates.append(float(likelihood.rates(x)[0]))
    signal = rates[1] - rates[0]
    linear = abs(rates[2] - rates[0] - 2 * signal) <= 1e-9 * max(1.0, abs(rates[2]))
    return (float(workspace.counts[0]), signal, rates[0]) if linear and signal > 0 and rates[0] >= 0 else None


def _numbers(answer: AsymptoticAnswer, asked: Asked) -> Numbers:
    return Numbers(
        observed=number(answer.observed),
        expected=asked.band(answer.expected),
        cls_observed=number(answer.cls_observed),
        cls_expected=asked.band(answer.cls_expected),
    )


def answer_workspace(workspace: Workspace, label: str, asked: Asked, *, stream: int) -> LimitPoint:
    """Limits of one workspace; fits that fail say so in the status.

    Args:
        workspace: Model and data.
        label: Of the point.
        asked: What is wanted.
        stream: Number of the workspace in the call: its toys have their own stream.
    """
    answer = asymptotic_answer(
        workspace,
        asked.confidence_level,
        test_statistic=asked.test_statistic,
        levels=asked.levels,
        cls_at=asked.cls_at,
    )
    if answer.status == "no_signal":
        return LimitPoint(label=label, status="no_signal")
    numbers = _numbers(answer, asked)
    better = asked.wants_better(background_under_signal(workspace))
    count = _as_count(workspace) if better or asked.method == "exact" else None
    if count is not None:
        n, signal, background = count
        return exact_point(
            label, None, asked, observed=n, signal=signal, background=background, asymptotic=numbers
        )
    if answer.status == "failed" and answer.best_fit is None:
        return LimitPoint(label=label, status="failed", note="the fit did not converge, with iminuit either")
    error = answer.best_fit_error
    point = LimitPoint(
        label=label,
        observed=numbers.observed,
        expected=numbers.expected,
        cls_observed=numbers.cls_observed,
        cls_expected=numbers.cls_expected,
        best_fit=number(answer.best_fit),
        best_fit_error=None if error is None else (number(error[0]), number(error[1])),
        p0=number(answer.p0),
        significance=number(answer.significance),
        method="asymptotic",
        status=answer.status,
    )
    if answer.status == "failed":
        return LimitPoint(
            label=label, status="failed", note="no strength is excluded: the limit cannot be bracketed"
        )
    if not (better or asked.method == "toys"):
        return point
    seed = np.random.SeedSequence(asked.seed, spawn_key=(1, stream))
    source = WorkspaceToys(workspace, test_statistic=asked.test_statistic, seed=seed)
    answered = with_toys(point, source, asked, asymptotic_beside=True)
    p0 = p0_from_toys(*source.discovery_statistics(asked.n_toys))
    if p0 is None or answered.status == "failed":
        return answered
    return answered.model_copy(update={"p0": p0, "significance": significance_of(p0)})
