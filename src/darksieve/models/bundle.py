"""The bundle: the fitted models of all folds with all that is needed to score other events the same way.

Layout of the directory (documents are JSON; nothing is ever unpickled)::

    bundle.json            format, model, options, features, schema, folds, mass range, calibrations, hashes,
                           version, and the SHA-256 of every other file and of itself
    examples.safetensors   some rows of the training, on which an export is compared with the models
    fold0/ … fold{k-1}/    one fitted model each: network.json + weights.safetensors, or bdt.json + trees.ubj
    working_points.json    where there are some
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from darksieve import __version__
from darksieve.atomic import sha256_of_file, sha256_of_json, write_json
from darksieve.datasets.events import Events
from darksieve.datasets.folds import fold_of
from darksieve.datasets.mapped_columns import release
from darksieve.errors import InputError, nearest
from darksieve.models.calibration import ScoreCalibration
from darksieve.models.estimator import (
    Classifier,
    Options,
    load_classifier,
    may_be_missing,
    parse_options,
    read_json,
    write_bytes,
)
from darksieve.models.feature_blocks import FeatureBlocks

FORMAT = "darksieve-bundle/1"
DOCUMENT = "bundle.json"
WORKING_POINTS = "working_points.json"
EXAMPLES = "examples.safetensors"
_ROWS_AT_ONCE = 262_144


@dataclass(frozen=True, eq=False)
class Bundle:
    """Models of k folds; each event is scored by the model of its fold, which has not seen it.

    Attributes:
        name: Name of the classifier.
        model: Name in the registry of models.
        options: The model's options.
        features: Columns that events must have, in the models' order.
        classifiers: One fitted model per fold.
        schema: Type of each feature's column in training, e.g. ``{"M_gg": "float64"}``.
        mass_column: The candidate's own mass, or None where the models are not conditioned on one.
        mass_range: Lowest and highest own mass of the training's signal in GeV, or None.
        fold_salt: Salt of the folds' hash.
        data_hash: SHA-256 over the training rows.
        config_hash: SHA-256 of the config that the training came from, or None.
        version: Of darksieve.
        working_points: Document with score boundaries, or None.
        reading: How candidates are made of a file's rows, for inference, or None.
        examples: Some rows of the training, shape (n, n_features), or None.
        learnt_missing: Features in which the training's rows had missing values (NaN).
        calibrations: What makes each model's probability one that counts bear out; empty for none.
    """

    name: str
    model: str
    options: Options
    features: tuple[str, ...]
    classifiers: tuple[Classifier, ...]
    schema: Mapping[str, str]
    mass_column: str | None = None
    mass_range: tuple[float, float] | None = None
    fold_salt: int = 0
    data_hash: str = ""
    config_hash: str | None = None
    version: str = __version__
    working_points: Mapping[str, Any] | None = None
    reading: Mapping[str, Any] | None = None
    examples: NDArray[np.float32] | None = None
    learnt_missing: tuple[str, ...] = ()
    calibrations: tuple[ScoreCalibration, ...] = ()

    def __post_init__(self) -> None:
        if self.calibrations and len(self.calibrations) != len(self.classifiers):
            raise ValueError(f"{len(self.calibrations)} calibrations of {len(self.classifiers)} models")

    @property
    def n_folds(self) -> int:
        return len(self.classifiers)

    @property
    def may_be_missing(self) -> tuple[str, ...]:
        """Features that are NaN where an event lacks the photon, or were missing in training."""
        return (*may_be_missing(self.options, self.features), *self.learnt_missing)

    def fold(self, events: Events) -> NDArray[np.int8]:
        """Fold of each event, shape (n,)."""
        return fold_of(events.key, self.n_folds, self.fold_salt)

    def score(self, events: Events, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Signal probability of each row by the model of its event's fold, shape (n,).

        Args:
            rows: Positions, rising, of the rows to score; None for all.

        Raises:
            InputError: If a feature is missing or not finite.
        """
        check_features(events, self.features, f"bundle {self.name}", self.may_be_missing, rows)
        wanted = np.arange(len(events)) if rows is None else rows
        fold = fold_of(events.key[wanted], self.n_folds, self.fold_salt)
        scores = np.empty(len(wanted), dtype=np.float32)
        for k in range(self.n_folds):
            own = np.flatnonzero(fold == k)
            scores[own] = self._scores_of_fold(k, events, wanted[own])
        return scores

    def ensemble(self, events: Events) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean score of all folds' models and its uncertainty, the spread among them, shape (n,) each.

        For events that no model was trained on, as data are: of an event of the training all models but one
        have seen it. Working points hold for :meth:`score`, which is what the rest of the chain uses.

        Raises:
            InputError: If a feature is missing or not finite.
        """
        check_features(events, self.features, f"bundle {self.name}", self.may_be_missing)
        rows = np.arange(len(events))
        scores = np.stack([self._scores_of_fold(k, events, rows) for k in range(self.n_folds)])
        return scores.mean(axis=0), scores.std(axis=0, ddof=1)

    def _scores_of_fold(self, fold: int, events: Events, rows: NDArray) -> NDArray[np.float32]:
        """Scores of some rows by the model of a fold, in blocks that fit into memory."""
        scores = np.empty(len(rows), dtype=np.float32)
        for part, X in FeatureBlocks(events, self.features, rows, _ROWS_AT_ONCE):
            scores[part] = self.classifiers[fold].predict_proba(X)[:, 1]
        return self.calibrations[fold](scores) if self.calibrations else scores

    def in_mass_range(self, events: Events) -> NDArray[np.bool_]:
        """Rows whose own mass lies where the models saw signal, shape (n,); elsewhere they extrapolate."""
        if self.mass_range is None or self.mass_column is None:
            return np.ones(len(events), dtype=bool)
        mass = events[self.mass_column]
        return (mass >= self.mass_range[0]) & (mass <= self.mass_range[1])

    def uncalibrated(self) -> Bundle:
        """The same models with the probabilities that they give themselves."""
        return dataclasses.replace(self, calibrations=())

    def with_working_points(self, document: Mapping[str, Any] | None) -> Bundle:
        """The same bundle with other working points."""
        return dataclasses.replace(self, working_points=document)

    def save(self, directory: Path | str) -> None:
        """Write the bundle; ``bundle.json``, which makes it one, comes last."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / DOCUMENT).unlink(missing_ok=True)
        (directory / WORKING_POINTS).unlink(missing_ok=True)
        for old in directory.glob("fold*"):
            shutil.rmtree(old)
        for k, classifier in enumerate(self.classifiers):
            classifier.save(directory / f"fold{k}")
        (directory / EXAMPLES).unlink(missing_ok=True)
        if self.examples is not None:
            write_bytes(directory / EXAMPLES, safetensors.numpy.save({"X": self.examples}))
        if self.working_points is not None:
            write_json(directory / WORKING_POINTS, self.working_points)
        document = {
            "format": FORMAT,
            "name": self.name,
            "model": self.model,
            "options": dataclasses.asdict(self.options),
            "features": list(self.features),
            "schema": dict(self.schema),
            "folds": {
                "n": self.n_folds,
                "salt": self.fold_salt,
                "from": "event key: __experiment__, __run__, …",
            },
            "mass_column": self.mass_column,
            "mass_range": None if self.mass_range is None else list(self.mass_range),
            "hashes": {"data": self.data_hash, "config": self.config_hash},
            "version": self.version,
            "reading": self.reading,
            "learnt_missing": list(self.learnt_missing),
            "calibrations": [one.to_json() for one in self.calibrations],
        }
        _seal(directory, document)

    @classmethod
    def load(cls, directory: Path | str) -> Bundle:
        """Read what ``save`` wrote; its scores are bit-equal.

        Raises:
            InputError: If there is no bundle, or a file is missing or not as it was written.
        """
        directory = Path(directory)
        if not (directory / DOCUMENT).is_file():
            raise InputError(f"{directory} is not a bundle: it has no {DOCUMENT}")
        document = read_json(directory / DOCUMENT)
        if document.get("format") != FORMAT:
            raise InputError(f"{directory / DOCUMENT}: format {document.get('format')!r} is not {FORMAT!r}")
        stated = document.pop("sha256", None)
        if stated != sha256_of_json(document):
            raise InputError(
                f"{directory / DOCUMENT} has been changed since it was written: its hash differs"
            )
        for name, sha256 in document["files"].items():
            path = directory / name
            if not path.is_file():
                raise InputError(f"{directory}: the bundle's file {name} is missing")
            if sha256_of_file(path) != sha256:
                raise InputError(f"{path} has been changed since the bundle was written: its hash differs")
        model = document["model"]
        options = parse_options(model, document["options"])
        with_points = WORKING_POINTS in document["files"]
        examples = None
        if EXAMPLES in document["files"]:
            examples = safetensors.numpy.load((directory / EXAMPLES).read_bytes())["X"]
        return cls(
            name=document["name"],
            model=model,
            options=options,
            features=tuple(document["features"]),
            classifiers=tuple(
                load_classifier(model, directory / f"fold{k}") for k in range(document["folds"]["n"])
            ),
            schema=document["schema"],
            mass_column=document["mass_column"],
            mass_range=None if document["mass_range"] is None else tuple(document["mass_range"]),
            fold_salt=document["folds"]["salt"],
            data_hash=document["hashes"]["data"],
            config_hash=document["hashes"]["config"],
            version=document["version"],
            working_points=read_json(directory / WORKING_POINTS) if with_points else None,
            reading=document["reading"],
            examples=examples,
            learnt_missing=tuple(document.get("learnt_missing", ())),
            calibrations=tuple(
                ScoreCalibration.from_json(entry, str(directory / DOCUMENT))
                for entry in document.get("calibrations", ())
            ),
        )


def attach_working_points(directory: Path | str, working_points: Mapping[str, Any]) -> None:
    """Give a bundle on disk other working points; its models stay as they are, byte by byte.

    Raises:
        InputError: If there is no bundle, or it is not as it was written.
    """
    directory = Path(directory)
    Bundle.load(directory)
    document = read_json(directory / DOCUMENT)
    _seal(directory, document, with_working_points=False)  # a kill at any moment leaves a whole bundle
    write_json(directory / WORKING_POINTS, working_points)
    _seal(directory, document)


def _seal(directory: Path, document: dict[str, Any], *, with_working_points: bool = True) -> None:
    """Write ``bundle.json`` with the hashes of the bundle's files and its own."""
    files = [p for p in directory.glob("fold*/*") if p.is_file()]
    files += [p for p in [directory / EXAMPLES] if p.is_file()]
    if with_working_points and (directory / WORKING_POINTS).is_file():
        files.append(directory / WORKING_POINTS)
    sealed = {name: value for name, value in document.items() if name != "sha256"}
    sealed["files"] = {path.relative_to(directory).as_posix(): sha256_of_file(path) for path in sorted(files)}
    sealed["sha256"] = sha256_of_json(_plain(sealed))
    write_json(directory / DOCUMENT, sealed)


def is_usable(values: NDArray, *, may_be_missing: bool) -> NDArray[np.bool_]:
    """Rows in which a feature is finite, or missing (NaN) where it may be, shape (n,)."""
    return ~np.isinf(values) if may_be_missing else np.isfinite(values)


def check_features(
    events: Events,
    features: Sequence[str],
    place: str,
    missing: Sequence[str] = (),
    rows: NDArray[np.intp] | None = None,
) -> None:
    """Every feature is a column and finite, in some rows or in all; NaN is allowed in those of ``missing``.

    Raises:
        InputError: Names the missing column and the nearest one, or the column with the number of its values
            that are NaN or infinite.
    """
    for name in features:
        if name not in events.columns:
            raise InputError(f"{place}: the events have no column {name!r}{nearest(name, events.columns)}")
        values = events[name] if rows is None else events[name][rows]
        n_bad = int(np.count_nonzero(~is_usable(values, may_be_missing=name in missing)))
        release(events[name])
        if n_bad:
            raise InputError(
                f"{place}: feature {name!r} is NaN or infinite in {n_bad} of {len(values)} rows; select those"
                " rows away or leave the feature out"
            )


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read back from JSON: tuples are lists."""
    import json

    return json.loads(json.dumps(document))
