"""Gradient-boosted decision trees: xgboost's ``hist``, behind the interface of all classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.models.estimator import (
    BdtOptions,
    EpochCallback,
    Validation,
    balanced_weights,
    read_json,
    write_bytes,
)
from darksieve.models.feature_blocks import FeatureBlocks
from darksieve.models.fit_checks import binary_labels, check_columns, check_lengths, check_penalty
from darksieve.models.penalty import Penalty
from darksieve.models.two_classes import TwoClassEstimator

if TYPE_CHECKING:
    import xgboost

FORMAT = "darksieve-bdt/1"
_DEFAULT = BdtOptions()


class Bdt(TwoClassEstimator):
    """A binary classifier of boosted trees; its keywords are those of :class:`BdtOptions`.

    Args:
        features: Names of the columns of X, stored with the model.
        seed: Of the row and feature draws.
        n_threads: Threads of xgboost. One by default: oversubscribed threads cost a factor of four.

    Attributes:
        classes_: The two labels; the second is the signal.
        history_: For each tree, ``train_loss`` and (with a validation part) ``validation_loss``.
        n_trees_: Trees in use, up to the best of the validation part.
    """

    def __init__(
        self,
        *,
        n_trees: int = _DEFAULT.n_trees,
        max_depth: int = _DEFAULT.max_depth,
        learning_rate: float = _DEFAULT.learning_rate,
        min_child_weight: float = _DEFAULT.min_child_weight,
        row_fraction: float = _DEFAULT.row_fraction,
        feature_fraction: float = _DEFAULT.feature_fraction,
        l2: float = _DEFAULT.l2,
        max_bins: int = _DEFAULT.max_bins,
        patience: int = _DEFAULT.patience,
        device: str = _DEFAULT.device,
        features: Sequence[str] | None = None,
        seed: int = 0,
        n_threads: int = 1,
    ) -> None:
        self.n_trees = n_trees
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.min_child_weight = min_child_weight
        self.row_fraction = row_fraction
        self.feature_fraction = feature_fraction
        self.l2 = l2
        self.max_bins = max_bins
        self.patience = patience
        self.device = device
        self.features = features
        self.seed = seed
        self.n_threads = n_threads

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self,
        X: NDArray,
        y: NDArray,
        sample_weight: NDArray | None = None,
        *,
        validation: Validation | None = None,
        on_epoch: EpochCallback | None = None,
        checkpoint: Path | None = None,
        penalty: Penalty | None = None,
    ) -> Self:
        """Fit the trees; with a validation part, stop where its loss is least.

        Args:
            X: Features, shape (n, n_features), finite or NaN, which is "missing": each split learns which way
                such rows go.
            y: Labels of two classes, shape (n,).
            sample_weight: Not negative, shape (n,); only ratios within a class matter.
            validation: X, y and weights (or None) of rows that are not in the fit.
            on_epoch: Called with (tree, losses).
            checkpoint: Not used: a fit is short, and repeats to the same numbers.
            penalty: On what the background's scores tell of protected variables of the rows of X. Early
                stopping looks at the cross-entropy alone, so use few trees or ``patience=0`` with it.

        Raises:
            ValueError: If X is infinite, a label is missing, a weight is negative, or the penalty is of
                other rows.
        """
        import xgboost

        X, y = validate_data(self, X, y, dtype=np.float32, order=None, ensure_all_finite="allow-nan")
        self.classes_, labels = binary_labels(y)
        check_columns(self.features, X.shape[1])
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        weights = balanced_weights(labels, sample_weight)
        check_penalty(penalty, len(X))
        names = None if self.features is None else list(self.features)
        train = xgboost.QuantileDMatrix(
            X, labels, weight=weights, feature_names=names, max_bin=self.max_bins, nthread=self.n_threads
        )
        held_out = None
        if validation is not None:
            X_val, y_val, w_val = validation
            y_val = np.searchsorted(self.classes_, y_val)
            held_out = xgboost.QuantileDMatrix(
                np.asarray(X_val, dtype=np.float32),
                y_val,
                weight=balanced_weights(y_val, w_val),
                feature_names=names,
                max_bin=self.max_bins,
                ref=train,
                nthread=self.n_threads,
            )
        objective = None if penalty is None else self._penalised(penalty, labels, weights)
        return self._boost(train, held_out, objective, on_epoch)

    def fit_blocks(
        self,
        blocks: FeatureBlocks,
        y: NDArray,
        sample_weight: NDArray,
        *,
        validation: NDArray[np.bool_],
        on_epoch: EpochCallback | None = None,
        penalty: Penalty | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Fit the trees to rows whose features are never all in memory.

        The bins of the features come from a sketch that is merged over the blocks, so the trees are not those
        of :meth:`fit`, but as good.

        Args:
            blocks: Features of n rows, finite.
            y: Labels of two classes, shape (n,).
            sample_weight: As of :meth:`fit`, shape (n,).
            validation: Rows that stop the fit early and are not in it otherwise, shape (n,).
            on_epoch: As of :meth:`fit`.
            penalty: As of :meth:`fit`, of the rows that are in the fit.
            folder: Where xgboost keeps its matrices; None for memory, some 110 bytes per row of 58 features.

        Raises:
            ValueError: As of :meth:`fit`.
        """
        from darksieve.models.bdt_blocks import matrices

        n_rows, n_features = blocks.shape
        check_lengths(blocks, y, sample_weight, validation, penalty)
        self.classes_, labels = binary_labels(y)
        check_columns(self.features, n_features)
        weights = np.empty(n_rows, dtype=np.float32)
        for part in (~validation, validation):
            if part.any():
                weights[part] = balanced_weights(labels[part], sample_weight[part])
        train, held_out = matrices(
            blocks,
            labels,
            weights,
            validation,
            names=self.features,
            max_bins=self.max_bins,
            n_threads=self.n_threads,
            folder=folder,
        )
        self.n_features_in_ = n_features
        objective = None
        if penalty is not None:
            objective = self._penalised(penalty, labels[~validation], weights[~validation])
        return self._boost(train, held_out, objective, on_epoch)

    def _boost(self, train: Any, held_out: Any, objective: Any, on_epoch: EpochCallback | None) -> Self:
        """Grow the trees on a quantised matrix; with one that is held out, as many as serve it best."""
        import xgboost

        watched = [(train, "train")] + ([] if held_out is None else [(held_out, "validation")])
        losses: dict[str, dict[str, list[float]]] = {}
        callbacks: list[Any] = [_report(on_epoch)] if on_epoch is not None else []
        if held_out is not None and self.patience:
            callbacks.append(xgboost.callback.EarlyStopping(rounds=self.patience, save_best=True))
        booster = xgboost.train(
            {
                "objective": "binary:logistic",
                "eval_metric": "logloss",
                "tree_method": "hist",
                "max_depth": self.max_depth,
                "eta": self.learning_rate,
                "min_child_weight": self.min_child_weight,
                "subsample": self.row_fraction,
                "colsample_bytree": self.feature_fraction,
                "lambda": self.l2,
                "max_bin": self.max_bins,
                "base_score": 0.5,
                "device": self.device,
                "nthread": self.n_threads,
                "seed": self.seed,
                "verbosity": 0,
            },
            train,
            num_boost_round=self.n_trees,
            obj=objective,
            evals=watched,
            evals_result=losses,
            callbacks=callbacks,
            verbose_eval=False,
        )
        per_tree = {f"{part}_loss": values["logloss"] for part, values in losses.items()}
        self.history_ = [
            dict(zip(per_tree, row, strict=True)) for row in zip(*per_tree.values(), strict=True)
        ]
        self.booster_ = booster
        self.n_trees_ = booster.num_boosted_rounds()
        return self

    def _penalised(self, penalty: Penalty, labels: NDArray, weights: NDArray) -> Any:
        """Gradient and Hessian of weighted cross-entropy and penalty, by the trees' raw sum."""
        rng = np.random.default_rng([self.seed, 1])
        is_background = labels == 0
        weights = weights.astype(np.float64)

        def objective(margin: NDArray, _: Any) -> tuple[NDArray, NDArray]:
            score = 1 / (1 + np.exp(-margin.astype(np.float64)))
            slope = score * (1 - score)
            _, of_penalty = penalty(score, is_background, weights, rng)
            gradient = weights * (score - labels) + len(score) * of_penalty * slope
            return gradient.astype(np.float32), np.maximum(weights * slope, 1e-16).astype(np.float32)

        return objective

    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes at equal priors, shape (n, 2)."""
        check_is_fitted(self, "booster_")
        X = validate_data(self, X, dtype=np.float32, reset=False, ensure_all_finite="allow-nan")
        signal = self.booster_.inplace_predict(X, validate_features=False).astype(np.float32)
        return np.stack([1 - signal, signal], axis=1)

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """Share of each feature in the total gain of all splits, shape (n_features,)."""
        check_is_fitted(self, "booster_")
        gain = np.zeros(self.n_features_in_)
        known = self.booster_.feature_names
        for name, value in self.booster_.get_score(importance_type="total_gain").items():
            gain[known.index(name) if known else int(name.removeprefix("f"))] = value
        return gain / gain.sum() if gain.any() else gain

    def save(self, directory: Path | str) -> None:
        """Write ``trees.ubj`` and ``bdt.json`` into a directory."""
        check_is_fitted(self, "booster_")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / "trees.ubj", bytes(self.booster_.save_raw("ubj")))
        write_json(directory / "bdt.json", {"format": FORMAT} | self._document())

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the directory does not hold such a model.
        """
        import xgboost

        directory = Path(directory)
        document = read_json(directory / "bdt.json")
        if document.get("format") != FORMAT:
            raise InputError(f"{directory}: format {document.get('format')!r} is not {FORMAT!r}")
        model = cls._of_document(document)
        booster: xgboost.Booster = xgboost.Booster({"nthread": model.n_threads})
        try:
            booster.load_model(bytearray((directory / "trees.ubj").read_bytes()))
        except (OSError, xgboost.core.XGBoostError) as error:
            raise InputError(f"{directory}/trees.ubj cannot be read: {error}") from None
        model.booster_ = booster
        model.n_trees_ = booster.num_boosted_rounds()
        return model


def _report(on_epoch: EpochCallback) -> Any:
    import xgboost

    class Report(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            on_epoch(epoch, {f"{part}_loss": values["logloss"][-1] for part, values in evals_log.items()})
            return False

    return Report()
