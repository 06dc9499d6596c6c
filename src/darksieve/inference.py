"""Inference: scores, folds and categories added to files of rows, chunk by chunk, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.datasets.beams import Beams
from darksieve.datasets.candidates import PairingRecipe
from darksieve.datasets.catalogue import Sample
from darksieve.datasets.events import Events, Role
from darksieve.datasets.expressions import Expression
from darksieve.datasets.files import TreeInfo, describe, iterate_branches
from darksieve.datasets.folds import fold_of, hash_event_key
from darksieve.datasets.lists import Lists
from darksieve.datasets.names import root_name
from darksieve.datasets.output import RowWriter, format_of, refuse_to_replace
from darksieve.datasets.read_recipe import ReadRecipe
from darksieve.datasets.reader import SampleReader
from darksieve.datasets.root_files import counters_of
from darksieve.datasets.tree_info import Format
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle, is_usable
from darksieve.progress import bar, say
from darksieve.workflow.categorising import categoriser

CHUNK_ROWS = 100_000
_SELECTED = "@selected"  # the selection of candidates, as a column


def apply_bundle(
    directory: Path | str,
    files: Sequence[Path | str],
    output: Path | str,
    *,
    tree: str = "ntuple",
    period: str | None = None,
    format: str | None = None,  # noqa: A002  # the word of the command line
    overwrite: bool = False,
) -> list[Path]:
    """Copy files with the bundle's scores added to their rows.

    Every row of every file is kept, in order, with all its branches of numbers and of lists of numbers (an
    array of fixed length becomes a list). Added are ``NAME_score`` (with pairings
    one for each, ``NAME_score_12`` …; NaN where a candidate cannot be made or a feature is not finite),
    ``NAME_fold`` and, with working points, ``NAME_category`` (0: rejected, or not selected).

    Args:
        directory: The bundle.
        files: ROOT files (TTree or RNTuple) or Parquet files.
        output: A .root or .parquet file, or for several files a folder, which keeps their names.
        tree: The tree to score.
        period: Data-taking period of the files, where the search has several.
        format: ``ttree``, ``rntuple`` or ``parquet``; None for the output's suffix, or as each file is.
        overwrite: Replace files that are there.

    Returns:
        The files that were written.

    Raises:
        InputError: If the bundle or a file is not usable, or an output is there already or is an input.
    """
    bundle = Bundle.load(directory)
    if bundle.reading is None:
        raise InputError(f"{directory}: it does not say how candidates are made; train it with darksieve run")
    pairs = _targets([Path(file) for file in files], Path(output), format)
    if not overwrite:
        for _, target in pairs:
            refuse_to_replace(target)
    scorers = [
        _FileScorer(bundle, source, tree, period) for source, _ in pairs
    ]  # all are checked before any is written
    for scorer, (source, target) in zip(scorers, pairs, strict=True):
        with bar(f"score {source.name}") as progress:
            n_rows = scorer.write(target, format, progress)
        say(f"{target}: {n_rows} rows with {', '.join(scorer.added)}")
        if scorer.n_outside and bundle.mass_range is not None:
            low, high = bundle.mass_range
            say(
                f"{target}: {scorer.n_outside} candidates have {bundle.mass_column} outside {low:.3g} to"
                f" {high:.3g} GeV, where the training had no signal; their scores are extrapolated"
            )
    return [target for _, target in pairs]


def _targets(files: Sequence[Path], output: Path, asked: str | None) -> list[tuple[Path, Path]]:
    if not files:
        raise InputError("no file to score")
    is_file = output.suffix in (".root", ".parquet") and not output.is_dir()
    if is_file and len(files) > 1:
        raise InputError(f"-o {output}: {len(files)} files need a folder, not one file")
    if not is_file and output.exists() and not output.is_dir():
        raise InputError(
            f"-o {output}: this is a file and no folder; name a .root or .parquet file or a folder"
        )
    suffix = (
        None if asked is None else ".parquet" if asked.lower() == Format.PARQUET.value.lower() else ".root"
    )
    names = [file.name if suffix is None else file.with_suffix(suffix).name for file in files]
    targets = [output] if is_file else [output / name for name in names]
    for target in targets:
        format_of(target, asked)
    doubled = sorted({str(t) for t in targets if targets.count(t) > 1})
    if doubled:
        raise InputError(f"-o {output}: several input files would be written to {doubled[0]}")
    for file, target in zip(files, targets, strict=True):
        if target.exists() and file.exists() and target.samefile(file):
            raise InputError(f"-o {output}: {target} is an input; give another folder")
    return list(zip(files, targets, strict=True))


class _FileScorer:
    """Scores one file; the constructor checks all that can be checked without reading events."""

    n_outside = 0  # candidates outside the masses of the training

    def __init__(self, bundle: Bundle, path: Path, tree: str, period: str | None = None) -> None:
        assert bundle.reading is not None
        self.bundle = bundle
        self.path = path
        self.tree = tree
        self.info: TreeInfo = describe(path, tree)
        reading = bundle.reading
        periods = reading.get("periods", {})
        if (period is None) == bool(periods) or (period is not None and period not in periods):
            there = f"one of {list(periods)}" if periods else "none: its search has one period"
            raise InputError(f"--period is {period}, and bundle {bundle.name} takes {there}")
        self.period = period
        given = reading["pairings"]
        self.pairings = None
        if given is not None:
            self.pairings = PairingRecipe(
                photons=tuple(given["photons"]),
                momentum=tuple(given["momentum"]),
                observable=given["observable"],
                kinematic_fit=given["kinematic_fit"],
            )
        self.boundaries: Mapping[str, Any] = bundle.working_points or {}
        derived = dict(reading.get("columns", {}))
        self.selects = reading["select"] is not None and bool(self.boundaries)
        if self.selects:  # computed with the candidates, since it may reduce lists
            derived[_SELECTED] = reading["select"]
        expressions = [Expression(b["select"]) for b in self.boundaries.values() if b["select"]]
        selected = [branch for expression in expressions for branch in expression.branches]
        observables = [b["observable"] for b in self.boundaries.values()] or [reading["observable"]]
        # scores of classifiers that come before this one, which an earlier apply put into the file
        self.earlier = {
            name: f"{name}_score"
            for b in self.boundaries.values()
            for name, edges in _edges(b).items()
            if name not in b["gates"].get("variables", {})
        }
        self.variables = {
            name: None for b in self.boundaries.values() for name in _edges(b) if name not in self.earlier
        }
        for name, branch in self.earlier.items():
            if branch not in self.info.names:
                raise InputError(
                    f"{self.info.place} has no branch {branch!r}: categories of {bundle.name} follow a cut on"
                    f" {name}; apply bundle {name} first, and {bundle.name} to what it writes"
                )
        cut_on = [*self.variables, *self.earlier.values()]
        wanted = dict.fromkeys([*bundle.features, *observables, *selected, *cut_on])
        if self.selects:
            wanted[_SELECTED] = None
        self.keys = [k for k in reading["event_key"] if k in self.info.names]
        sample = Sample(name=bundle.name, role=Role.DATA, files=(path,), tree=tree, non_finite="keep")
        recipe = ReadRecipe(
            columns=tuple(wanted),
            luminosity_fb=1.0,
            pairings=self.pairings,
            beams=Beams.parse(reading["beams"] if period is None else periods[period]),
            derived=derived,
            missing={pattern: tuple(values) for pattern, values in reading.get("missing", {}).items()},
            period=period,
            event_key=tuple(reading["event_key"]),
            chunk_rows=CHUNK_ROWS,
            may_be_empty=True,
            duplicates="keep",
        )
        self.reader = SampleReader(sample, recipe, needed_by=f"bundle {bundle.name}")
        clash = [name for name in self.added if name in self.info.names]
        if clash:
            raise InputError(f"{self.info.place} has a branch {clash[0]!r} already: it was scored before")

    @property
    def added(self) -> list[str]:
        """Names of the branches that are added."""
        name = self.bundle.name
        suffixes = [""] if self.pairings is None else [f"_{i + 1}{j + 1}" for i, j in self.pairings.pairs]
        names = [f"{name}_score{s}" for s in suffixes]
        if self.boundaries:
            names += [f"{name}_category{s}" for s in suffixes]
        return [*names, f"{name}_fold"]

    def write(self, target: Path, asked: str | None, progress: Any) -> int:
        """Write the scored copy, atomically; the number of rows."""
        info = self.info
        copied = {name for name, kind in info.types.items() if kind is not None or name in info.lists}
        lost = sorted(set(info.types) - copied)
        if lost:
            say(f"{self.path}: branches that hold neither numbers nor lists of them are left out: {lost}")
        if asked is None and info.format is Format.RNTUPLE and target.suffix == ".root":
            asked = Format.RNTUPLE.value
        renamed = info.format is Format.PARQUET and format_of(target, asked) is not Format.PARQUET
        counters = {} if info.format is Format.PARQUET else counters_of(self.path, info.tree)
        self.n_outside = 0
        with RowWriter(
            target, format=asked, tree=info.tree or self.tree, counters=counters, overwrite=True
        ) as writer:
            for columns, start in iterate_branches(self.path, info.tree or None, copied, CHUNK_ROWS):
                out = {**columns, **self._scored(columns, start)}
                writer.write({root_name(name) if renamed else name: v for name, v in out.items()})
                progress(writer.n_rows, max(info.n_entries, 1))
        return writer.n_rows

    def _scored(self, columns: Mapping[str, NDArray | Lists], start: int) -> dict[str, NDArray]:
        """Scores, categories and folds of one chunk of rows."""
        n = len(next(iter(columns.values())))
        events, row = self.reader.candidates_of(columns, start)
        n_pairs = 1 if self.pairings is None else len(self.pairings.pairs)
        usable = np.ones(len(events), dtype=bool)
        for name in self.bundle.features:
            usable &= is_usable(events[name], may_be_missing=name in self.bundle.may_be_missing)
        good = events.select(np.flatnonzero(usable))
        where = (row * n_pairs + (events.candidate % n_pairs if n_pairs > 1 else 0))[usable]
        score = np.full(n * n_pairs, np.nan, np.float32)
        own = self.bundle.score(good)
        self.n_outside += int(np.count_nonzero(~self.bundle.in_mass_range(good)))
        score[where] = own
        name = self.bundle.name
        added: dict[str, NDArray] = dict(zip(self.added, score.reshape(n, n_pairs).T, strict=False))
        if self.boundaries:
            category = np.zeros(n * n_pairs, np.int8)
            category[where] = self._categories(good, own)
            names = [a for a in self.added if a.startswith(f"{name}_category")]
            added |= dict(zip(names, category.reshape(n, n_pairs).T, strict=True))
        columns_of_key = {k: np.asarray(columns[self.info.names.get(k)]) for k in self.keys}
        key = hash_event_key(columns_of_key, self.period)
        added[f"{name}_fold"] = fold_of(key, self.bundle.n_folds, self.bundle.fold_salt)
        return {name: np.ascontiguousarray(values) for name, values in added.items()}

    def _categories(self, events: Events, score: NDArray[np.float32]) -> NDArray[np.int8]:
        """Category in the channel that selects the candidate; the last one where several do."""
        out = np.zeros(len(events), np.int8)
        for boundaries in self.boundaries.values():
            if boundaries.get("period") not in (None, self.period):
                continue
            observable = np.asarray(events[boundaries["observable"]], float)
            columns = {name: np.asarray(events[branch]) for name, branch in self.earlier.items()}
            columns |= {name: np.asarray(events[name]) for name in self.variables}
            category = categoriser(boundaries)(observable, columns | {self.bundle.name: score}, events.key)
            if boundaries["select"]:
                category = np.where(Expression(boundaries["select"]).select(events.columns), category, 0)
            out = np.where(category > 0, category, out).astype(np.int8)
        if self.selects:
            out[np.nan_to_num(events[_SELECTED]) == 0] = 0
        return out


def _edges(boundaries: Mapping[str, Any]) -> dict[str, Any]:
    """What is cut on before the categories of one channel."""
    gates = boundaries["gates"] or {"edges": {}}
    return {name: edges for name, edges in gates["edges"].items() if edges is not None}
