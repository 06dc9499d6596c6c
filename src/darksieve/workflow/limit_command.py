"""``darksieve limits``: documents in, limits out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.evaluation.limits.answer import InterruptedScanError, answer_documents
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.limits.point_answers import MethodChoice
from darksieve.progress import bar, say


def limits_of_documents(
    documents: Sequence[Path],
    output: Path,
    *,
    confidence_level: float,
    method: MethodChoice,
    n_toys: int,
    cls_at: float | None,
    test_statistic: Literal["qtilde", "q"],
    interpolation: str | None,
    bands: Literal["sigma", "quantile"],
    seed: int,
    resume: bool = False,
    pyhf: Path | None = None,
) -> None:
    """Answer documents and write ``output`` with a CSV beside it.

    Raises:
        InputError: If a document or an option is wrong; then nothing is written.
        RuntimeError: If no point succeeded; the file is written all the same.
    """
    _check_output(output, documents)
    if cls_at is not None and not np.isfinite(cls_at):
        raise InputError(f"--cls-at {cls_at}: a value of the parameter is a finite number")
    if not 0 < confidence_level < 1:
        raise InputError(
            f"--cl {confidence_level}: a confidence level lies between 0 and 1, for example 0.95"
        )
    known = LimitCurve.load(output) if resume and output.exists() else None
    if pyhf is not None:
        _export(documents, pyhf, confidence_level)
    try:
        with bar("limits") as progress:
            curve = answer_documents(
                list(documents),
                confidence_level=confidence_level,
                method=method,
                n_toys=n_toys,
                cls_at=cls_at,
                test_statistic=test_statistic,
                interpolation=interpolation,
                bands=bands,
                seed=seed,
                known=known,
                progress=progress,
            )
    except InterruptedScanError as stopped:  # what is done is never lost
        _save(stopped.curve, output)
        raise
    _save(curve, output)
    wanted = [point for point in curve.points if point.status not in ("vetoed", "no_signal")]
    if wanted and not any(point.succeeded for point in wanted):
        raise RuntimeError(f"no point succeeded; {output} says why")


def _export(documents: Sequence[Path], folder: Path, confidence_level: float) -> None:
    """Write each search document as a pyhf workspace with a patch set, and say how well they close."""
    from darksieve.evaluation.limits.pyhf_export import export_closure, export_patchset

    for path in documents:
        model = SearchModel.load(path)
        workspace, patchset = export_patchset(model)
        write_json(folder / f"{path.stem}.workspace.json", workspace)
        write_json(folder / f"{path.stem}.patchset.json", patchset)
        fitted = [point.label for point in model.points if point.channels]
        shown = [fitted[i] for i in np.unique(np.linspace(0, len(fitted) - 1, 5).astype(int))]
        closure = export_closure(model, shown, confidence_level=confidence_level)
        say(
            f"{folder / path.stem}.workspace.json, .patchset.json: limits at {len(shown)} points differ by"
            f" at most {closure.largest:.1g} from the document's"
        )


def _check_output(output: Path, documents: Sequence[Path]) -> None:
    """Refuse what cannot be written, or would replace an input, before any fit."""
    if output.suffix == ".csv":
        raise InputError(f"-o {output}: name the JSON file; the CSV is written beside it")
    if output.is_dir():
        raise InputError(
            f"-o {output}: this is a folder; name a file in it, for example {output}/limits.json"
        )
    for written in (output, output.with_suffix(".csv")):
        for document in documents:
            if written.exists() and document.exists() and written.samefile(document):
                raise InputError(
                    f"-o {output}: {document} is an input and would be replaced; give another name"
                )


def _save(curve: LimitCurve, output: Path) -> None:
    curve.save(output)
    curve.save(output.with_suffix(".csv"))
    _summarise(curve, output)


def _summarise(curve: LimitCurve, output: Path) -> None:
    states: dict[str, int] = {}
    for point in curve.points:
        states[point.status] = states.get(point.status, 0) + 1
    counts = ", ".join(f"{n} {status}" for status, n in states.items())
    say(f"{output}: {100 * curve.confidence_level:g} % CLs limits on {curve.parameter.name} ({counts})")
    if len(curve.points) <= 20:
        unit = "" if curve.parameter.unit == "1" else f" {curve.parameter.unit}"
        for point in curve.points:
            observed = "-" if point.observed is None else f"{point.observed:.4g}"
            median = (point.expected or {}).get(curve.band_keys[2])
            expected = "-" if median is None or not np.isfinite(median) else f"{median:.4g}"
            how = f"({point.status}, {point.method})"
            say(f"  {point.label}: observed {observed}{unit}, expected {expected}{unit} {how}")
    if curve.global_ is not None:
        say(f"  largest excess: p0 = {curve.global_.p0_min:.3g}, global p = {curve.global_.p_global:.3g}")
