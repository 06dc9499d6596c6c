"""The one interface of all classifiers, and the registry of those that a config may name."""

from __future__ import annotations

import dataclasses
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from darksieve.atomic import atomic_path
from darksieve.errors import InputError, nearest
from darksieve.models.penalty import Penalty
from darksieve.models.photon_columns import may_be_absent

ARCHITECTURES = ("mlp", "attention")
FINE_TUNINGS = ("none", "expected_limit", "punzi")
Validation = tuple[NDArray, NDArray, NDArray | None]  # X, y, weights
EpochCallback = Callable[[int, Mapping[str, float]], None]  # (epoch, {"train_loss": …, "validation_loss": …})


@runtime_checkable
class Classifier(Protocol):
    """What every model offers: scikit-learn's ``fit`` and ``predict_proba``, and files without pickle.

    ``features`` names the columns of X where they are known. Weights matter only relative to each other:
    the classes enter with equal total weight, so the probability is at equal priors.
    """

    features: Sequence[str] | None
    history_: list[dict[str, float]]

    @abstractmethod
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
        """Fit to X (n, n_features), y (n,) of two classes; stop early on the validation part, where given.

        A model whose fit is long resumes from ``checkpoint`` (a file) and writes to it as it goes. A penalty
        is added to the mean cross-entropy.
        """

    @abstractmethod
    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes, shape (n, 2)."""

    @abstractmethod
    def save(self, directory: Path | str) -> None:
        """Write the fitted model into a directory: JSON and weights, no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what ``save`` wrote; the loaded model gives bit-equal probabilities."""


@dataclasses.dataclass(frozen=True)
class BdtOptions:
    """Options of the gradient-boosted trees (xgboost, ``hist``).

    Attributes:
        n_trees: Greatest number of trees; early stopping may end before.
        max_depth: Depth of a tree.
        learning_rate: Shrinkage of each tree.
        min_child_weight: Least sum of Hessians in a leaf, with weights of mean 1.
        row_fraction: Rows drawn for each tree.
        feature_fraction: Features drawn for each tree.
        l2: Ridge penalty of the leaf values.
        max_bins: Bins of the feature histograms.
        patience: Trees without a better validation loss before the fit stops; 0 never stops early.
        device: "cpu" or "cuda".
    """

    n_trees: int = 1000
    max_depth: int = 5
    learning_rate: float = 0.1
    min_child_weight: float = 5.0
    row_fraction: float = 0.8
    feature_fraction: float = 0.6
    l2: float = 5.0
    max_bins: int = 256
    patience: int = 50
    device: str = "cpu"

    def __post_init__(self) -> None:
        _need(self, "n_trees", self.n_trees >= 1, "a number of at least 1")
        _need(self, "max_depth", 1 <= self.max_depth <= 20, "a depth from 1 to 20")
        _need(self, "learning_rate", 0 < self.learning_rate <= 1, "above 0, at most 1")
        _need(self, "min_child_weight", self.min_child_weight >= 0, "not negative")
        _need(self, "row_fraction", 0 < self.row_fraction <= 1, "above 0, at most 1")
        _need(self, "feature_fraction", 0 < self.feature_fraction <= 1, "above 0, at most 1")
        _need(self, "l2", self.l2 >= 0, "not negative")
        _need(self, "max_bins", 2 <= self.max_bins <= 65536, "from 2 to 65536")
        _need(self, "patience", self.patience >= 0, "not negative")
        _need(self, "device", self.device.split(":")[0] in ("cpu", "cuda"), "'cpu' or 'cuda'")


@dataclasses.dataclass(frozen=True)
class PhotonNetworkOptions:
    """Options of the photon network, which is conditioned on the candidate's own mass.

    Attributes:
        architecture: "mlp", a perceptron on the columns as they are, or "attention", a set network on the
            photons, of which an event may have two, three or four.
        hidden: Width of each hidden layer (mlp).
        width: Numbers that stand for one photon (attention).
        heads: Attention heads; they divide ``width`` (attention).
        layers: Rounds of attention (attention).
        epochs: Passes over the training rows; the learning rate falls to nearly zero over them.
        batch_size: Rows per step.
        learning_rate: Highest learning rate of the one-cycle schedule.
        weight_decay: Decoupled weight decay (AdamW).
        patience: Epochs without a better validation loss before the fit stops; 0 never stops early.
        gradient_clip: Greatest norm of the gradient; 0 never clips.
        mass_feature: The candidate's own mass, which conditions the network.
        device: "auto" takes a GPU where there is one (with mixed precision), "cpu" or "cuda".
        fine_tune: After the cross-entropy, go on with the "expected_limit" or with "punzi" as the loss; the
            result is kept only where held-out rows gain. Or "none".
        fine_tune_epochs: Passes over the training rows then.
        fine_tune_rate: Highest learning rate then.
        background_error: Relative uncertainty of the background that the sensitivity has.
    """

    architecture: str = "mlp"
    hidden: tuple[int, ...] = (48, 48)
    width: int = 32
    heads: int = 4
    layers: int = 2
    epochs: int = 10
    batch_size: int = 4096
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    patience: int = 5
    gradient_clip: float = 1.0
    mass_feature: str = "M_gg"
    device: str = "auto"
    fine_tune: str = "none"
    fine_tune_epochs: int = 20
    fine_tune_rate: float = 0.002
    background_error: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        _need(self, "architecture", self.architecture in ARCHITECTURES, f"one of {list(ARCHITECTURES)}")
        _need(self, "hidden", bool(self.hidden) and min(self.hidden) >= 1, "widths of at least 1")
        _need(self, "width", self.width >= 1, "a number of at least 1")
        _need(self, "heads", self.heads >= 1 and self.width % self.heads == 0, "a divisor of width")
        _need(self, "layers", self.layers >= 1, "a number of at least 1")
        _need(self, "epochs", self.epochs >= 1, "a number of at least 1")
        _need(self, "batch_size", self.batch_size >= 1, "a number of at least 1")
        _need(self, "learning_rate", 0 < self.learning_rate < 1, "between 0 and 1")
        _need(self, "weight_decay", self.weight_decay >= 0, "not negative")
        _need(self, "patience", self.patience >= 0, "not negative")
        _need(self, "gradient_clip", self.gradient_clip >= 0, "not negative")
        _need(self, "device", self.device in ("auto", "cpu", "cuda"), "'auto', 'cpu' or 'cuda'")
        _need(self, "fine_tune", self.fine_tune in FINE_TUNINGS, f"one of {list(FINE_TUNINGS)}")
        _need(self, "fine_tune_epochs", self.fine_tune_epochs >= 1, "a number of at least 1")
        _need(self, "fine_tune_rate", 0 < self.fine_tune_rate < 1, "between 0 and 1")
        _need(self, "background_error", 0 <= self.background_error < 1, "from 0 to 1")


Options = BdtOptions | PhotonNetworkOptions
_OPTIONS: dict[str, type[Options]] = {"bdt": BdtOptions, "photon_network": PhotonNetworkOptions}
MODELS = tuple(_OPTIONS)

PHOTON_FEATURES = (
    "M_gg",
    "E_pair1",
    "E_pair2",
    "E_recoil",
    "cosTheta_pair1",
    "cosTheta_pair2",
    "cosThetaRecoil",
    "cosHelicity",
    "phiHelicity",
)
"""Kinematics of a photon pair and its recoil: what leading-order e+e- → γγγ knows, in convenient form."""


MASS_HYPOTHESES = ("mass_hypothesis", "hypothesis", "m_hypothesis", "m_a", "genM_a", "mass")


def parse_options(model: str, options: Mapping[str, Any] | Options | None = None) -> Options:
    """Typed options of a model from a config's keys.

    Raises:
        InputError: If the model or a key is not known (the nearest is offered), or a value is not allowed.
    """
    if model not in _OPTIONS:
        raise InputError(f"model {model!r} is not known; there are {list(MODELS)}{nearest(model, MODELS)}")
    kind = _OPTIONS[model]
    if isinstance(options, kind):
        return options
    if dataclasses.is_dataclass(options):
        raise InputError(f"options of model {model!r} are {kind.__name__}, not {type(options).__name__}")
    given = dict(options or {})
    types = get_type_hints(kind)
    for key, value in given.items():
        if key not in types:
            raise InputError(f"{model}.{key}: unknown option{nearest(key, types)}; there are {sorted(types)}")
        given[key] = _converted(f"{model}.{key}", value, types[key])
    return kind(**given)


def make_classifier(
    model: str,
    options: Mapping[str, Any] | Options | None = None,
    *,
    features: Sequence[str] | None = None,
    seed: int = 0,
    n_threads: int = 1,
) -> Classifier:
    """A new classifier of the registry, not fitted yet.

    Raises:
        InputError: If the model or an option is not known.
    """
    keywords = dataclasses.asdict(parse_options(model, options))
    return classifier_type(model)(
        **keywords, features=None if features is None else tuple(features), seed=seed, n_threads=n_threads
    )


def load_classifier(model: str, directory: Path | str) -> Classifier:
    """A fitted classifier from its directory."""
    return classifier_type(model).load(directory)


def classifier_type(model: str) -> Any:
    """The class of a model; imports its library (xgboost or torch) only now."""
    if model == "bdt":
        from darksieve.models.bdt import Bdt

        return Bdt
    if model == "photon_network":
        from darksieve.models.photon_network import PhotonNetwork

        return PhotonNetwork
    raise InputError(f"model {model!r} is not known; there are {list(MODELS)}{nearest(model, MODELS)}")


def check_own_mass(features: Sequence[str], mass_feature: str) -> None:
    """Refuse features that do not condition the network on the candidate's own mass alone.

    A mass hypothesis beside the reconstructed mass makes a network that carves a peak out of any background
    (measured: a spurious signal of more than 100 standard deviations).

    Raises:
        InputError: If the own mass is missing, or a mass hypothesis is among the features.
    """
    if mass_feature not in features:
        raise InputError(
            f"photon_network: its features lack {mass_feature!r}, the candidate's own mass that conditions it"
            f"{nearest(mass_feature, features)}"
        )
    for name in features:
        if name in MASS_HYPOTHESES:
            raise InputError(
                f"photon_network: feature {name!r} is a mass hypothesis; beside the reconstructed mass"
                f" {mass_feature!r} it would carve a peak out of the background: leave it out"
            )


def may_be_missing(options: Options, features: Sequence[str]) -> tuple[str, ...]:
    """Features in which a model takes NaN for "absent": those of photons that an event may lack."""
    if not isinstance(options, PhotonNetworkOptions) or options.architecture != "attention":
        return ()
    return tuple(name for name in features if may_be_absent(name))


def balanced_weights(y: NDArray, sample_weight: NDArray | None) -> NDArray[np.float32]:
    """Weights with equal totals of the two classes and mean 1, shape (n,), for y of zeros and ones.

    Raises:
        ValueError: If a weight is negative or not finite, or a class has no weight.
    """
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64).copy()
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")
    for label in (0, 1):
        total = weights[y == label].sum()
        if total <= 0:
            raise ValueError(f"class {label} has no rows with weight")
        weights[y == label] *= 0.5 * len(y) / total
    return weights.astype(np.float32)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: If the file is absent or is not a JSON object.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object")
    return document


def _need(options: Options, name: str, fulfilled: bool, wanted: str) -> None:
    if not fulfilled:
        raise InputError(f"option {name} is {getattr(options, name)!r}; it must be {wanted}")


def _converted(place: str, value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind == tuple[int, ...] and isinstance(value, list | tuple) and all(type(v) is int for v in value):
        return tuple(value)
    raise InputError(f"{place} is {value!r}; it must be of type {getattr(kind, '__name__', kind)}")
