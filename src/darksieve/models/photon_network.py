"""The photon network: candidate kinematics in physical units in, signal probability out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.models.estimator import (
    EpochCallback,
    PhotonNetworkOptions,
    Validation,
    balanced_weights,
    check_own_mass,
    may_be_missing,
    read_json,
    write_bytes,
)
from darksieve.models.penalty import Penalty
from darksieve.models.perceptron import PhotonPerceptron
from darksieve.models.photon_inputs import transform_of
from darksieve.models.photon_set import PhotonSet

if TYPE_CHECKING:
    from darksieve.models.network_fit import Loss

FORMAT = "darksieve-photon-network/1"
_DEFAULT = PhotonNetworkOptions()
_ROWS_AT_ONCE = 8192  # always so many, padded: the same kernels run whatever the size of a chunk


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Torch with n threads inside the block: its small kernels are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class PhotonNetwork(ClassifierMixin, BaseEstimator):
    """A network conditioned on the candidate's own mass; keywords as in :class:`PhotonNetworkOptions`.

    Trained on background with the signal's mass distribution it learns the likelihood ratio at each mass.

    Args:
        features: Names of the columns of X; they choose the transforms. Without names every column is taken
            as it is, which only the perceptron can.
        seed: Of the first weights and the order of the rows.
        n_threads: Threads of torch.

    Attributes:
        classes_: The two labels; the second is the signal.
        network_: The fitted :class:`PhotonPerceptron` or :class:`PhotonSet`, of the best epoch.
        history_: For each epoch ``train_loss`` and (with a validation part) ``validation_loss``.
    """

    history_: list[dict[str, float]]

    def __init__(
        self,
        *,
        architecture: str = _DEFAULT.architecture,
        hidden: Sequence[int] = _DEFAULT.hidden,
        width: int = _DEFAULT.width,
        heads: int = _DEFAULT.heads,
        layers: int = _DEFAULT.layers,
        epochs: int = _DEFAULT.epochs,
        batch_size: int = _DEFAULT.batch_size,
        learning_rate: float = _DEFAULT.learning_rate,
        weight_decay: float = _DEFAULT.weight_decay,
        patience: int = _DEFAULT.patience,
        gradient_clip: float = _DEFAULT.gradient_clip,
        mass_feature: str = _DEFAULT.mass_feature,
        device: str = _DEFAULT.device,
        fine_tune: str = _DEFAULT.fine_tune,
        fine_tune_epochs: int = _DEFAULT.fine_tune_epochs,
        fine_tune_rate: float = _DEFAULT.fine_tune_rate,
        background_error: float = _DEFAULT.background_error,
        features: Sequence[str] | None = None,
        seed: int = 0,
        n_threads: int = 1,
    ) -> None:
        self.architecture = architecture
        self.hidden = hidden
        self.width = width
        self.heads = heads
        self.layers = layers
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.gradient_clip = gradient_clip
        self.mass_feature = mass_feature
        self.device = device
        self.fine_tune = fine_tune
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_rate = fine_tune_rate
        self.background_error = background_error
        self.features = features
        self.seed = seed
        self.n_threads = n_threads

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
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
        loss: Loss | None = None,
        beside: tuple[NDArray, NDArray | None] | None = None,
    ) -> Self:
        """Fit the network; with a validation part, keep the epoch of the least loss.

        Args:
            X: Features, shape (n, n_features), in physical units; finite, but for the columns of photons
                that an event may lack (attention), which are NaN there.
            y: Labels of two classes, shape (n,).
            sample_weight: Not negative, shape (n,); only ratios within a class matter.
            validation: X, y and weights (or None) of rows that are not in the fit.
            on_epoch: Called with (epoch, losses).
            checkpoint: File written after every epoch; a fit that was killed goes on from it to the same
                numbers. It is ignored where data or options are others.
            penalty: On what the background's scores tell of protected variables of the rows of X.
            loss: What is minimised; by default the weighted cross-entropy.
            beside: What only the loss sees of the fit's rows, (n, k), and of the validation's. The
                candidate's own mass comes before it in any case.

        Raises:
            InputError: If the features have a mass hypothesis, or lack the candidate's own mass, the loss
                explodes, or a GPU is asked for and absent.
            ValueError: If X is not finite, a label is missing, a weight is negative, or the penalty is of
                other rows.
        """
        from darksieve.models.network_fit import FitOptions, Rows, accelerator_of, fit_network

        accelerator_of(self.device)
        X, y = validate_data(self, X, y, dtype=np.float32, order=None, ensure_all_finite=self._finite())
        self._refuse_missing(X)
        check_classification_targets(y)
        target = type_of_target(y, input_name="y")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {target}.")
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        if self.features is not None:
            if len(self.features) != X.shape[1]:
                raise ValueError(f"{len(self.features)} feature names for {X.shape[1]} columns")
            check_own_mass(self.features, self.mass_feature)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        weights = balanced_weights(labels, sample_weight)
        if penalty is not None and len(penalty) != len(X):
            raise ValueError(f"the penalty has variables of {len(penalty)} rows, X has {len(X)}")
        with torch_threads(self.n_threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._network(X.shape[1])

            def rows(X: NDArray, y: NDArray, weights: NDArray, beside: NDArray | None) -> Rows:
                inputs = network.inputs(_tensor(X))
                if y is labels:
                    network.standardise(inputs, _tensor(weights))
                return Rows(network.prepare(inputs), _tensor(y), _tensor(weights), self._beside(X, beside))

            with torch.no_grad():
                train = rows(X, labels, weights, None if beside is None else beside[0])
                held_out = None
                if validation is not None:
                    X_val, y_val, w_val = validation
                    y_val = np.searchsorted(self.classes_, y_val)
                    of_val = None if beside is None else beside[1]
                    held_out = rows(np.asarray(X_val), y_val, balanced_weights(y_val, w_val), of_val)
            options = FitOptions(
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                patience=self.patience,
                gradient_clip=self.gradient_clip,
                seed=self.seed,
                device=self.device,
            )
            self.history_ = fit_network(
                network.core,
                train,
                held_out,
                options,
                loss=loss,
                penalty=penalty,
                on_epoch=on_epoch,
                checkpoint=checkpoint,
            )
        self.network_ = network.eval()
        return self

    def fine_tuned(
        self,
        X: NDArray,
        y: NDArray,
        sample_weight: NDArray,
        *,
        validation: tuple[NDArray, NDArray, NDArray],
        loss: Loss,
        beside: tuple[NDArray, NDArray],
        epochs: int,
        learning_rate: float,
        batch_size: int,
        penalty: Penalty | None = None,
        on_epoch: EpochCallback | None = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """A copy of this fitted network that goes on from its weights with another loss.

        Arguments as of ``fit``; the standardisation stays that of the fit.

        Raises:
            InputError: If the loss explodes.
        """
        from darksieve.models.network_fit import FitOptions, Rows, fit_network

        check_is_fitted(self, "network_")
        tuned = copy.deepcopy(self)
        network = tuned.network_.train()

        def rows(X: NDArray, y: NDArray, weight: NDArray, beside: NDArray) -> Rows:
            labels = np.searchsorted(self.classes_, y)
            weights = _tensor(balanced_weights(labels, weight))
            return Rows(
                network.prepare(network.inputs(_tensor(X))), _tensor(labels), weights, self._beside(X, beside)
            )

        options = FitOptions(
            epochs, batch_size, learning_rate, self.weight_decay, epochs, self.gradient_clip,
            self.seed, self.device,
        )  # fmt: skip
        with torch_threads(self.n_threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            with torch.no_grad():
                train = rows(X, y, sample_weight, beside[0])
                held_out = rows(*validation, beside[1])
            history = fit_network(
                network.core, train, held_out, options,
                loss=loss, penalty=penalty, on_epoch=on_epoch, checkpoint=checkpoint,
            )  # fmt: skip
        tuned.history_ = [*self.history_, *history]
        network.eval()
        return tuned

    def own_mass(self, X: NDArray) -> NDArray[np.float32]:
        """The candidate's own mass of rows, shape (n,).

        Raises:
            InputError: If the columns have no names.
        """
        if self.features is None:
            raise InputError("photon_network: the own mass needs the names of the features")
        return np.asarray(X[:, list(self.features).index(self.mass_feature)])

    def logits(self, X: NDArray) -> NDArray[np.float32]:
        """Scores before the last function, which has no ties near 0 and 1, shape (n,)."""
        return self._output(X, torch.nn.Identity())

    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes at equal priors, shape (n, 2)."""
        signal = self._output(X, torch.sigmoid)
        return np.stack([1 - signal, signal], axis=1)

    def _output(self, X: NDArray, of_logit: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=np.float32, reset=False, ensure_all_finite=self._finite())
        self._refuse_missing(X)
        signal = np.empty(len(X), dtype=np.float32)
        rows = np.empty((_ROWS_AT_ONCE, X.shape[1]), dtype=np.float32)
        with torch_threads(self.n_threads), torch.inference_mode():
            for start in range(0, len(X), _ROWS_AT_ONCE):
                block = X[start : start + _ROWS_AT_ONCE]
                rows[: len(block)] = block
                rows[len(block) :] = X[0]
                logit = self.network_(torch.from_numpy(rows))
                signal[start : start + len(block)] = of_logit(logit).numpy()[: len(block)]
        return signal

    def predict(self, X: NDArray) -> NDArray:
        """The likelier label of each row, shape (n,)."""
        check_is_fitted(self, "network_")
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]

    def save(self, directory: Path | str) -> None:
        """Write ``weights.safetensors`` and ``network.json`` into a directory."""
        check_is_fitted(self, "network_")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in self.network_.state_dict().items()}
        write_bytes(directory / "weights.safetensors", safetensors.torch.save(state))
        features = None if self.features is None else list(self.features)
        document = {
            "format": FORMAT,
            "parameters": self.get_params(deep=False) | {"hidden": list(self.hidden), "features": features},
            "classes": self.classes_.tolist(),
            "n_features": int(self.n_features_in_),
            "history": self.history_,
        }
        write_json(directory / "network.json", document)

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the directory does not hold such a model.
        """
        directory = Path(directory)
        document = read_json(directory / "network.json")
        if document.get("format") != FORMAT:
            raise InputError(f"{directory}: format {document.get('format')!r} is not {FORMAT!r}")
        parameters = document["parameters"]
        parameters["hidden"] = tuple(parameters["hidden"])
        if parameters["features"] is not None:
            parameters["features"] = tuple(parameters["features"])
        model = cls(**parameters)
        model.classes_ = np.array(document["classes"])
        model.n_features_in_ = document["n_features"]
        model.history_ = document["history"]
        with torch.random.fork_rng(devices=[]):  # building layers draws weights, which are replaced at once
            model.network_ = model._network(model.n_features_in_).eval()
        try:
            model.network_.load_state_dict(
                safetensors.torch.load((directory / "weights.safetensors").read_bytes())
            )
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise InputError(f"{directory}/weights.safetensors cannot be read: {error}") from None
        return model

    def _network(self, n_features: int) -> PhotonPerceptron | PhotonSet:
        """A network of the architecture for these columns, not fitted."""
        if self.architecture == "attention":
            if self.features is None:
                raise InputError("photon_network: attention needs the names of the features")
            return PhotonSet(
                self.features, self.mass_feature, width=self.width, heads=self.heads, layers=self.layers
            )
        if self.features is None:
            return PhotonPerceptron(["identity"] * n_features, self.hidden)
        return PhotonPerceptron([transform_of(name) for name in self.features], self.hidden)

    def _missing(self) -> NDArray[np.bool_]:
        """Which columns may be NaN, shape (n_features,)."""
        names = tuple(self.features or ())
        allowed = may_be_missing(PhotonNetworkOptions(architecture=self.architecture), names)
        return np.array([name in allowed for name in names], dtype=bool)

    def _finite(self) -> bool | str:
        """What scikit-learn is to check: all of X, or only that nothing is infinite."""
        return "allow-nan" if self._missing().any() else True

    def _refuse_missing(self, X: NDArray) -> None:
        missing = self._missing()
        if missing.any() and len(missing) == X.shape[1]:
            bad = np.isnan(X[:, ~missing]).any(axis=0)
            if bad.any():
                names = [name for name, m in zip(self.features or (), missing, strict=True) if not m]
                raise ValueError(f"X has NaN in {names[int(np.argmax(bad))]!r}, which every event has")

    def _beside(self, X: NDArray, beside: NDArray | None) -> Tensor:
        """What the loss sees of rows: their own mass, where it is known, and what is given."""
        parts = [] if beside is None else [np.asarray(beside, dtype=np.float32).reshape(len(X), -1)]
        if self.features is not None:
            parts.insert(0, self.own_mass(X)[:, None])
        return _tensor(np.concatenate(parts, axis=1) if parts else np.empty((len(X), 0)))


def _tensor(values: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
