"""The limit tool's answer to search documents and workspaces: the function behind ``darksieve limits``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from darksieve.errors import InputError
from darksieve.evaluation.limits.curve import LimitCurve, LimitPoint
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.interpolation import parse_interpolation
from darksieve.evaluation.limits.marginal_answer import answer_marginally, check_marginal_search
from darksieve.evaluation.limits.point_answers import AUTO_THRESHOLD, Asked, MethodChoice
from darksieve.evaluation.limits.questions import (
    Document,
    Question,
    common_lifetime,
    common_parameter,
    read_questions,
)
from darksieve.evaluation.limits.search_answer import answer_search, check_exact_search
from darksieve.evaluation.limits.workspace_answer import answer_workspace, check_exact_workspace

Progress = Callable[[float, float], None]


class InterruptedScanError(KeyboardInterrupt):
    """The scan was interrupted; ``curve`` holds the points that were done, and can be saved and merged."""

    def __init__(self, curve: LimitCurve) -> None:
        super().__init__(f"interrupted after {len(curve.points)} points")
        self.curve = curve


def answer_documents(
    documents: Sequence[Document],
    *,
    confidence_level: float = 0.95,
    method: MethodChoice = "auto",
    n_toys: int = 10_000,
    cls_at: float | None = None,
    test_statistic: Literal["qtilde", "q"] = "qtilde",
    interpolation: str | None = None,
    bands: Literal["sigma", "quantile"] = "sigma",
    seed: int = 1,
    threshold: float = AUTO_THRESHOLD,
    look_elsewhere: bool = True,
    progress: Progress | None = None,
    known: LimitCurve | None = None,
) -> LimitCurve:
    """Limits at every point of all documents.

    Args:
        documents: Search documents and workspaces: paths, parsed JSON or models. A patch set (or JSON patch)
            follows the workspace that it changes.
        confidence_level: Of the CLs limits.
        method: ``auto`` answers with exact or toy CLs where fewer than ``threshold`` background events are
            expected within ±2σ and keeps the asymptotic numbers beside them; or ``asymptotic``, ``exact``,
            ``toys``; or ``marginal``: counts enumerated, their nuisances averaged over.
        n_toys: Toys per hypothesis of a point, where toys are used, spread over the strengths that are
            tried; more are thrown near the observed limit until its error is below 2 %.
        cls_at: Strength at which CLs is wanted, too.
        test_statistic: ``qtilde`` or ``q``.
        interpolation: Of workspaces, such as ``normsys=code1,histosys=code0``; pyhf's defaults otherwise.
        bands: Levels of the expected band: −2 … +2 σ, or the quantiles 2.5, 16, 50, 84 and 97.5 %.
        seed: Of all toys.
        threshold: Background events below which ``auto`` leaves the asymptotic formulae.
        look_elsewhere: Whether the global p-value of the largest excess is wanted.
        progress: Called with (points done, points in all).
        known: An earlier answer to the same question, such as that of an interrupted scan: points that have
            numbers there are taken over, the others answered, with the same numbers as in one go.

    Returns:
        The limits, one point per hypothesis; a point that failed says so in its status.

    Raises:
        InputError: If a document is wrong, or ``exact`` is asked of a model that has no exact answer, or
            ``known`` answers another question.
        InterruptedScanError: On Ctrl-C, with the points done so far.
    """
    if not 0 < confidence_level < 1:
        raise InputError(f"confidence level {confidence_level}: must lie between 0 and 1, such as 0.95")
    questions = read_questions(documents, interpolation=parse_interpolation(interpolation))
    asked = Asked(confidence_level, method, n_toys, cls_at, test_statistic, bands, seed, threshold)
    if method == "exact":
        for question in questions:
            if isinstance(question.model, SearchModel):
                check_exact_search(question.model, question.source)
            else:
                check_exact_workspace(question.model, question.source)
    if method == "marginal":
        for question in questions:
            if not isinstance(question.model, SearchModel):
                raise InputError(
                    f"{question.source}: marginal limits are for search documents; use --method toys"
                )
            check_marginal_search(question.model, question.source)
    empty = LimitCurve(
        confidence_level=confidence_level,
        asimov="nominal" if questions[0].blind else "postfit",
        bands=bands,
        test_statistic=test_statistic,
        cls_at=cls_at,
        parameter=common_parameter(questions),
        ctau_cm=common_lifetime(questions),
    )
    labels = [label for question in questions for label in question.labels]
    n_points = len(labels)
    done: list[LimitPoint] = []
    if known is not None:
        done = [point for point in known.points if point.succeeded and point.label in set(labels)]
        empty.merge(known)  # refuses another question
    skip = frozenset(point.label for point in done)
    try:
        for i, question in enumerate(questions):
            for points in _answers(question, asked, i, skip):
                done += points
                if progress is not None:
                    progress(len(done), n_points)
        curve = empty.with_points(done)
        if look_elsewhere:
            from darksieve.evaluation.limits.look_elsewhere import global_excess

            curve = curve.with_global(global_excess(questions, curve, seed=seed))
    except KeyboardInterrupt:
        raise InterruptedScanError(empty.with_points(done)) from None
    return curve


def _answers(
    question: Question, asked: Asked, index: int, skip: frozenset[str]
) -> Iterator[list[LimitPoint]]:
    if isinstance(question.model, SearchModel) and asked.method == "marginal":
        yield from answer_marginally(question.model, question.labels, asked, skip=skip)
    elif isinstance(question.model, SearchModel):
        yield from answer_search(question.model, question.labels, asked, stream=index, skip=skip)
    elif question.labels[0] not in skip:
        yield [answer_workspace(question.model, question.labels[0], asked, stream=index)]
