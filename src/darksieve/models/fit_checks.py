"""What every model refuses of the rows of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from darksieve.models.estimator import check_own_mass
from darksieve.models.feature_blocks import FeatureBlocks
from darksieve.models.penalty import Penalty


def binary_labels(y: NDArray) -> tuple[NDArray, NDArray[np.int8]]:
    """The two classes, and the labels as 0 and 1, shape (n,).

    Raises:
        ValueError: If there are more or fewer classes than two.
    """
    check_classification_targets(y)
    target = type_of_target(y, input_name="y")
    classes = np.unique(y)
    if len(classes) > 2:
        raise ValueError(f"Only binary classification is supported. The type of the target is {target}.")
    if len(classes) < 2:
        raise ValueError("Classifier can't train when only one class is present.")
    return classes, np.asarray(y == classes[1], dtype=np.int8)


def refuse_infinite(X: NDArray) -> None:
    """Refuse infinities.

    Raises:
        ValueError: If there are any.
    """
    if np.isinf(X).any():
        raise ValueError("X contains infinity")


def refuse_missing(X: NDArray, features: Sequence[str] | None, may_be_missing: NDArray[np.bool_]) -> None:
    """Refuse NaN in columns that every event has.

    Args:
        X: Shape (n, n_features).
        features: Names of the columns, or None.
        may_be_missing: Which of them an event may lack, by name; empty without names.

    Raises:
        ValueError: If a column has NaN that may not.
    """
    bad = np.isnan(X).any(axis=0)
    if len(may_be_missing) == len(bad):
        bad &= ~may_be_missing
    if bad.any():
        column = int(np.argmax(bad))
        name = column if features is None else repr(features[column])
        raise ValueError(f"X has NaN in {name}, which every event has")


def check_columns(features: Sequence[str] | None, n_columns: int, own_mass: str | None = None) -> None:
    """Refuse another number of names than of columns, and names without the candidate's own mass.

    Raises:
        ValueError: If the numbers differ.
        InputError: As of ``check_own_mass``.
    """
    if features is None:
        return
    if len(features) != n_columns:
        raise ValueError(f"{len(features)} feature names for {n_columns} columns")
    if own_mass is not None:
        check_own_mass(features, own_mass)


def check_lengths(
    blocks: FeatureBlocks, y: NDArray, weight: NDArray, validation: NDArray[np.bool_], penalty: Penalty | None
) -> None:
    """Refuse labels, weights, a validation part or a penalty of other rows than the blocks.

    Raises:
        ValueError: If one of them has another number of rows.
    """
    wrong = {len(values) for values in (y, weight, validation)} - {len(blocks)}
    if wrong:
        raise ValueError(f"labels, weights or validation have {sorted(wrong)} rows, the blocks {len(blocks)}")
    n_fitted = int(np.count_nonzero(~validation))
    if penalty is not None and len(penalty) != n_fitted:
        raise ValueError(f"the penalty has variables of {len(penalty)} rows, the fit has {n_fitted}")


def check_penalty(penalty: Penalty | None, n_rows: int) -> None:
    """Refuse a penalty on variables of other rows than those of the fit.

    Raises:
        ValueError: If the numbers of rows differ.
    """
    if penalty is not None and len(penalty) != n_rows:
        raise ValueError(f"the penalty has variables of {len(penalty)} rows, X has {n_rows}")
