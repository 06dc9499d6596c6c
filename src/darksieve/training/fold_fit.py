"""The fit of one fold's model: plain arrays in, files out, so that it can run in a process of its own."""

from __future__ import annotations

import hashlib
import multiprocessing
import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import sha256_of_file, sha256_of_json, write_json
from darksieve.errors import InputError
from darksieve.models.estimator import (
    Classifier,
    EpochCallback,
    Options,
    PhotonNetworkOptions,
    load_classifier,
    make_classifier,
    read_json,
)
from darksieve.models.feature_blocks import FeatureBlocks
from darksieve.models.penalty import Penalty
from darksieve.training.limit_rows import LimitRows

FINISHED = "fold.json"
CHECKPOINT = "checkpoint.ckpt"
FINE_TUNING_CHECKPOINT = "fine-tuning.ckpt"
OnFoldEpoch = Callable[[int, int, Mapping[str, float]], None]  # (fold, epoch, losses)


@dataclass(frozen=True, eq=False)
class FoldTask:
    """All that one fold's fit needs.

    Attributes:
        fold: Its number.
        directory: Where its model, and its checkpoint on the way, are written.
        model, options, features, seed, n_threads: As of ``make_classifier``.
        X: Features, shape (n, n_features), float32; or blocks of them.
        y: Labels, 1 for signal, shape (n,), int8.
        weight: Shape (n,).
        validation: Rows that stop the fit early and are not in it otherwise, shape (n,).
        protected: Variables that scores pay for telling of, shape (n, n_variables); None for none.
        penalty_strength: How much they pay.
        limit_rows: What a sensitivity as the loss needs to know of the rows; None where it is not asked for.
    """

    fold: int
    directory: Path
    model: str
    options: Options
    features: tuple[str, ...]
    seed: int
    n_threads: int
    X: NDArray[np.float32] | FeatureBlocks
    y: NDArray[np.int8]
    weight: NDArray[np.float64]
    validation: NDArray[np.bool_]
    protected: NDArray[np.float32] | None = None
    penalty_strength: float = 0.0
    limit_rows: LimitRows | None = None

    def identity(self) -> str:
        """SHA-256 of everything that the fitted model depends on."""
        sha = hashlib.sha256()
        if isinstance(self.X, FeatureBlocks):
            sha.update(f"{self.X.digest()} in blocks of {self.X.rows_per_block}".encode())
        else:
            sha.update(np.ascontiguousarray(self.X.T).data)
        for values in (self.y, self.weight, self.validation):
            sha.update(np.ascontiguousarray(values).data)
        if self.protected is not None:
            sha.update(np.ascontiguousarray(self.protected.T).data)
            sha.update(str(self.penalty_strength).encode())
        if self.limit_rows is not None:
            sha.update(self.limit_rows.digest().encode())
        settings = [self.fold, self.model, asdict(self.options), self.features, self.seed, self.n_threads]
        return sha256_of_json([*settings, sha.hexdigest()])

    def finished(self) -> dict[str, Any] | None:
        """The record of this very fit where an earlier run finished it and its files are as written."""
        if not (self.directory / FINISHED).is_file():
            return None
        try:
            record = read_json(self.directory / FINISHED)
        except InputError:
            return None
        if record.get("identity") != self.identity():
            return None
        whole = all(
            (self.directory / name).is_file() and sha256_of_file(self.directory / name) == sha256
            for name, sha256 in record["files"].items()
        )
        return record if whole else None


def fit_fold(task: FoldTask, on_epoch: OnFoldEpoch | None = None) -> dict[str, Any]:
    """Fit one fold, or go on from its checkpoint, and write its model; ``fold.json`` comes last.

    Returns:
        The record: ``seconds``, ``epochs``, ``identity`` and hashes of the files.
    """
    start = time.perf_counter()
    task.directory.mkdir(parents=True, exist_ok=True)
    (task.directory / FINISHED).unlink(missing_ok=True)
    classifier = make_classifier(
        task.model, task.options, features=task.features, seed=task.seed, n_threads=task.n_threads
    )
    report = None
    if on_epoch is not None:

        def report(epoch: int, losses: Mapping[str, float]) -> None:
            on_epoch(task.fold, epoch, losses)

    fit, held_out = ~task.validation, task.validation
    checkpoint = task.directory / CHECKPOINT
    penalty = (
        None
        if task.protected is None
        else Penalty(task.protected[fit].astype(np.float64), task.penalty_strength)
    )
    if isinstance(task.X, FeatureBlocks):
        _fit_blocks(classifier, task.X, task, report, penalty, checkpoint)
    else:
        classifier.fit(
            task.X[fit],
            task.y[fit],
            task.weight[fit],
            validation=(task.X[held_out], task.y[held_out], task.weight[held_out])
            if held_out.any()
            else None,
            on_epoch=report,
            checkpoint=checkpoint,
            penalty=penalty,
        )
    fine_tuning: dict[str, Any] = {}
    if task.limit_rows is not None:
        tuned, fine_tuning = _fine_tune(classifier, task, report, penalty)
        classifier = tuned if fine_tuning["accepted"] else classifier
    shutil.rmtree(task.directory / "model", ignore_errors=True)
    classifier.save(task.directory / "model")
    files = sorted(path for path in (task.directory / "model").iterdir() if path.is_file())
    record = {
        "identity": task.identity(),
        "seconds": time.perf_counter() - start,
        "epochs": classifier.history_,
        "fine_tuning": fine_tuning,
        "files": {f"model/{path.name}": sha256_of_file(path) for path in files},
    }
    write_json(task.directory / FINISHED, record)
    checkpoint.unlink(missing_ok=True)
    (task.directory / FINE_TUNING_CHECKPOINT).unlink(missing_ok=True)
    return record


def _fine_tune(
    classifier: Classifier, task: FoldTask, on_epoch: EpochCallback | None, penalty: Penalty | None
) -> tuple[Classifier, dict[str, Any]]:
    from darksieve.models.photon_network import PhotonNetwork
    from darksieve.training.fine_tuning import fine_tune

    assert isinstance(classifier, PhotonNetwork)
    assert isinstance(task.options, PhotonNetworkOptions)
    assert isinstance(task.X, np.ndarray)
    assert task.limit_rows is not None
    return fine_tune(
        classifier,
        task.X,
        task.y,
        task.weight,
        task.validation,
        task.limit_rows,
        task.options,
        penalty=penalty,
        on_epoch=on_epoch,
        checkpoint=task.directory / FINE_TUNING_CHECKPOINT,
    )


def _fit_blocks(
    classifier: Classifier,
    blocks: FeatureBlocks,
    task: FoldTask,
    on_epoch: EpochCallback | None,
    penalty: Penalty | None,
    checkpoint: Path,
) -> None:
    rows: dict[str, Any] = {"validation": task.validation, "on_epoch": on_epoch, "penalty": penalty}
    if isinstance(task.options, PhotonNetworkOptions):
        from darksieve.models.photon_network import PhotonNetwork

        assert isinstance(classifier, PhotonNetwork)
        classifier.fit_blocks(blocks, task.y, task.weight, checkpoint=checkpoint, **rows)
        return
    from darksieve.models.bdt import Bdt
    from darksieve.models.bdt_blocks import EXTERNAL_ABOVE

    assert isinstance(classifier, Bdt)
    for left in task.directory.glob("matrices-*"):  # of a killed fit
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=task.directory, prefix="matrices-") as folder:
        on_disk = Path(folder) if len(blocks) > EXTERNAL_ABOVE else None
        classifier.fit_blocks(blocks, task.y, task.weight, folder=on_disk, **rows)


def load_fold(directory: Path, model: str) -> Classifier:
    """The fitted model of a finished fold."""
    return load_classifier(model, directory / "model")


def fit_folds(
    tasks: Iterable[FoldTask], workers: int, on_epoch: OnFoldEpoch | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Fit several folds, in this process or in several; the numbers are the same.

    Args:
        tasks: Made one at a time as workers get free, so that few copies of the rows are in memory.
        workers: Processes; 1 stays in this one.

    Yields:
        Fold and record, in the order in which they finish.
    """
    if workers <= 1:
        for task in tasks:
            yield task.fold, fit_fold(task, on_epoch)
        return
    context = multiprocessing.get_context("spawn")
    epochs = context.Queue()
    with ProcessPoolExecutor(workers, context, _use_queue, (epochs,)) as pool:
        waiting = iter(tasks)
        running: dict[Any, int] = {}
        more = True
        try:
            while more or running:
                while more and len(running) < workers:
                    following = next(waiting, None)
                    more = following is not None
                    if following is not None:
                        running[pool.submit(_fit_in_worker, following)] = following.fold
                done, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                _drain(epochs, on_epoch)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
    _drain(epochs, on_epoch)


_epochs: Any = None  # of a worker process: where its epochs are reported


def _use_queue(epochs: Any) -> None:
    global _epochs  # noqa: PLW0603  # set once, when the process starts
    _epochs = epochs


def _fit_in_worker(task: FoldTask) -> dict[str, Any]:
    return fit_fold(task, lambda *epoch: _epochs.put(epoch))


def _drain(epochs: Any, on_epoch: OnFoldEpoch | None) -> None:
    while True:
        try:
            fold, epoch, losses = epochs.get_nowait()
        except queue.Empty:
            return
        if on_epoch is not None:
            on_epoch(fold, epoch, losses)
