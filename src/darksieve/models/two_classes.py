"""What estimators of two classes have in common: tags, the likelier label, the document of their fit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted


class TwoClassEstimator(ClassifierMixin, BaseEstimator):
    """Base of a classifier of two classes whose ``predict_proba`` is that of equal priors.

    Attributes:
        classes_: The two labels; the second is the signal.
        history_: For each tree or epoch ``train_loss`` and (with a validation part) ``validation_loss``.
    """

    features: Sequence[str] | None
    classes_: NDArray
    n_features_in_: int
    history_: list[dict[str, float]]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @abstractmethod
    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes at equal priors, shape (n, 2)."""

    def predict(self, X: NDArray) -> NDArray:
        """The likelier label of each row, shape (n,)."""
        check_is_fitted(self)
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]

    def _document(self) -> dict[str, Any]:
        """Parameters, classes and history as JSON takes them."""
        parameters = self.get_params(deep=False)
        lists = {name: list(value) for name, value in parameters.items() if isinstance(value, tuple | list)}
        return {
            "parameters": parameters | lists,
            "classes": self.classes_.tolist(),
            "n_features": int(self.n_features_in_),
            "history": self.history_,
        }

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        """A model of what ``_document`` gave, still without what was fitted."""
        parameters = document["parameters"]
        tuples = {name: tuple(value) for name, value in parameters.items() if isinstance(value, list)}
        model = cls(**parameters | tuples)
        model.classes_ = np.array(document["classes"])
        model.n_features_in_ = document["n_features"]
        model.history_ = document["history"]
        return model
