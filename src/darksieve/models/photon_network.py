"""The photon network: candidate kinematics in physical units in, signal probability out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.models.estimator import (
    EpochCallback,
    PhotonNetworkOptions,
    Validation,
    balanced_weights,
    check_own_mass,
    read_json,
    write_bytes,
)
from darksieve.models.penalty import Penalty

FORMAT = "darksieve-photon-network/1"
_DEFAULT = PhotonNetworkOptions()
_ROWS_AT_ONCE = 8192  # always so many, padded: the same kernels run whatever the size of a chunk
_CLIP = 10.0  # standard deviations beyond which an input saturates
_LEAST = 1e-6  # of 1 - |cos| and of energies (GeV): keeps logarithms finite
_TRANSFORMS = {  # of one column into the columns that the perceptron sees
    "identity": lambda x: (x,),
    "log": lambda x: (x.clamp(min=_LEAST).log(),),
    "mass": lambda x: (x, x.clamp(min=_LEAST).log()),
    # With log E these give the logarithms of k = E (1 - cos) and k' = E (1 + cos), where |M|² has its poles.
    "cosine": lambda c: (c, (1 - c).clamp(min=_LEAST).log(), (1 + c).clamp(min=_LEAST).log()),
    "even_cosine": lambda c: (c.abs(), (1 - c.abs()).clamp(min=_LEAST).log()),
    "even_angle": lambda phi: (phi.cos(), (2 * phi).cos()),
}


def transform_of(feature: str) -> str:
    """Name of the transform that a feature gets; ``identity`` for what is not kinematics of the candidate."""
    if feature in ("M_gg", "M_recoil"):
        return "mass"
    if feature.startswith("cosTheta"):
        return "cosine"
    if feature == "cosHelicity":
        return "even_cosine"  # which photon of the pair is called the first carries no information
    if feature == "phiHelicity":
        return "even_angle"  # parity: the sign of the azimuth carries no information
    if feature in ("E_pair1", "E_pair2", "E_recoil"):
        return "log"
    return "identity"


class PhotonPerceptron(nn.Module):
    """Transforms, standardisation and perceptron: features (n, n_features) to logits (n,).

    Args:
        transforms: One name per feature.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, transforms: Sequence[str], hidden: Sequence[int]) -> None:
        super().__init__()
        self.transforms = tuple(transforms)
        one = torch.ones(1)
        n_inputs = sum(len(_TRANSFORMS[name](one)) for name in transforms)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))
        layers: list[nn.Module] = []
        width = n_inputs
        for w in hidden:
            layers += [nn.Linear(width, w), nn.SiLU()]
            width = w
        self.perceptron = nn.Sequential(*layers, nn.Linear(width, 1))

    def inputs(self, X: Tensor) -> Tensor:
        """Transformed columns, not standardised yet: (n, n_features) -> (n, n_inputs)."""
        columns = [column for i, name in enumerate(self.transforms) for column in _TRANSFORMS[name](X[:, i])]
        return torch.stack(columns, dim=1)

    def standardise(self, inputs: Tensor, weights: Tensor | None = None) -> None:
        """Take shift and scale from training rows (n, n_inputs), weighted (n,)."""
        wide = inputs.double()
        w = torch.ones(len(wide), dtype=torch.float64) if weights is None else weights.double()
        w = (w / w.sum())[:, None]
        mean = (w * wide).sum(0)
        spread = (w * (wide - mean) ** 2).sum(0).sqrt()
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(spread > 1e-6 * mean.abs().clamp(min=1e-6), 1 / spread, 1.0))

    def prepare(self, inputs: Tensor) -> Tensor:
        """Standardised inputs of the perceptron, same shape."""
        return ((inputs - self.shift) * self.scale).clamp(-_CLIP, _CLIP)

    def forward(self, X: Tensor) -> Tensor:
        return self.perceptron(self.prepare(self.inputs(X))).squeeze(-1)  # (n, 1) -> (n,)


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
    """A perceptron conditioned on the candidate's own mass; keywords as in :class:`PhotonNetworkOptions`.

    Trained on background with the signal's mass distribution it learns the likelihood ratio at each mass.

    Args:
        features: Names of the columns of X; they choose the transforms. Without names every column is taken
            as it is.
        seed: Of the first weights and the order of the rows.
        n_threads: Threads of torch.

    Attributes:
        classes_: The two labels; the second is the signal.
        network_: The fitted :class:`PhotonPerceptron`, of the best epoch.
        history_: For each epoch ``train_loss`` and (with a validation part) ``validation_loss``.
    """

    history_: list[dict[str, float]]

    def __init__(
        self,
        *,
        hidden: Sequence[int] = _DEFAULT.hidden,
        epochs: int = _DEFAULT.epochs,
        batch_size: int = _DEFAULT.batch_size,
        learning_rate: float = _DEFAULT.learning_rate,
        weight_decay: float = _DEFAULT.weight_decay,
        patience: int = _DEFAULT.patience,
        mass_feature: str = _DEFAULT.mass_feature,
        features: Sequence[str] | None = None,
        seed: int = 0,
        n_threads: int = 1,
    ) -> None:
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.mass_feature = mass_feature
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
    ) -> Self:
        """Fit the network; with a validation part, keep the epoch of the least loss.

        Args:
            X: Features, shape (n, n_features), finite, in physical units.
            y: Labels of two classes, shape (n,).
            sample_weight: Not negative, shape (n,); only ratios within a class matter.
            validation: X, y and weights (or None) of rows that are not in the fit.
            on_epoch: Called with (epoch, losses).
            checkpoint: File written after every epoch; a fit that was killed goes on from it to the same
                numbers. It is ignored where data or options are others.
            penalty: On what the background's scores tell of protected variables of the rows of X.

        Raises:
            InputError: If the features have a mass hypothesis, or lack the candidate's own mass.
            ValueError: If X is not finite, a label is missing, a weight is negative, or the penalty is of
                other rows.
        """
        from darksieve.models.network_fit import fit_perceptron

        X, y = validate_data(self, X, y, dtype=np.float32, order=None)
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
            network = PhotonPerceptron(self._transforms(X.shape[1]), self.hidden)
            with torch.no_grad():
                inputs = network.inputs(torch.from_numpy(np.ascontiguousarray(X)))
                network.standardise(inputs, torch.from_numpy(weights))
                train = (network.prepare(inputs), _tensor(labels), _tensor(weights))
                held_out = None
                if validation is not None:
                    X_val, y_val, w_val = validation
                    y_val = np.searchsorted(self.classes_, y_val)
                    held_out = (
                        network.prepare(network.inputs(_tensor(X_val))),
                        _tensor(y_val),
                        _tensor(balanced_weights(y_val, w_val)),
                    )
            self.history_ = fit_perceptron(
                network.perceptron,
                train,
                held_out,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                patience=self.patience,
                seed=self.seed,
                on_epoch=on_epoch,
                checkpoint=checkpoint,
                penalty=penalty,
            )
        self.network_ = network.eval()
        return self

    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes at equal priors, shape (n, 2)."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, dtype=np.float32, reset=False)
        n = len(X)
        signal = np.empty(n, dtype=np.float32)
        rows = np.empty((_ROWS_AT_ONCE, X.shape[1]), dtype=np.float32)
        with torch_threads(self.n_threads), torch.inference_mode():
            for start in range(0, n, _ROWS_AT_ONCE):
                block = X[start : start + _ROWS_AT_ONCE]
                rows[: len(block)] = block
                rows[len(block) :] = X[0]
                logit = self.network_(torch.from_numpy(rows))
                signal[start : start + len(block)] = torch.sigmoid(logit).numpy()[: len(block)]
        return np.stack([1 - signal, signal], axis=1)

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
            "transforms": list(self.network_.transforms),
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
        unknown = set(document["transforms"]) - set(_TRANSFORMS)
        if unknown:
            raise InputError(f"{directory}/network.json: transforms {sorted(unknown)} are not known")
        model = cls(**parameters)
        model.classes_ = np.array(document["classes"])
        model.n_features_in_ = document["n_features"]
        model.history_ = document["history"]
        with torch.random.fork_rng(devices=[]):  # building layers draws weights, which are replaced at once
            model.network_ = PhotonPerceptron(document["transforms"], model.hidden).eval()
        try:
            model.network_.load_state_dict(
                safetensors.torch.load((directory / "weights.safetensors").read_bytes())
            )
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise InputError(f"{directory}/weights.safetensors cannot be read: {error}") from None
        return model

    def _transforms(self, n_features: int) -> list[str]:
        if self.features is None:
            return ["identity"] * n_features
        return [transform_of(name) for name in self.features]


def _tensor(values: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
