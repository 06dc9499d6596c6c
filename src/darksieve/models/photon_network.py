"""The photon network: candidate kinematics in physical units in, signal probability out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from darksieve.errors import InputError
from darksieve.models.estimator import (
    EpochCallback,
    PhotonNetworkOptions,
    Validation,
    balanced_weights,
    may_be_missing,
)
from darksieve.models.feature_blocks import FeatureBlocks
from darksieve.models.fit_checks import (
    binary_labels,
    check_columns,
    check_lengths,
    check_penalty,
    refuse_infinite,
    refuse_missing,
)
from darksieve.models.fit_rows import BlockRows, Rows, as_tensor, rows_of
from darksieve.models.network_files import read_document, read_weights, write_network
from darksieve.models.penalty import Penalty
from darksieve.models.perceptron import PhotonPerceptron
from darksieve.models.photon_inputs import transform_of
from darksieve.models.photon_set import PhotonSet
from darksieve.models.torch_threads import torch_threads
from darksieve.models.two_classes import TwoClassEstimator

if TYPE_CHECKING:
    from darksieve.models.network_fit import FitOptions, Loss

_DEFAULT = PhotonNetworkOptions()
_ROWS_AT_ONCE = 8192  # always so many, padded: the same kernels run whatever the size of a chunk


class PhotonNetwork(TwoClassEstimator):
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
            X: Features, shape (n, n_features), in physical units; finite, but for the columns of photons that
                an event may lack (attention), NaN there.
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
        from darksieve.models.network_fit import accelerator_of, fit_network

        accelerator_of(self.device)
        finite = "allow-nan" if self._missing().any() else True
        X, y = validate_data(self, X, y, dtype=np.float32, order=None, ensure_all_finite=finite)
        refuse_missing(X, self.features, self._missing())
        self.classes_, labels = binary_labels(y)
        check_columns(self.features, X.shape[1], self.mass_feature)
        weights = balanced_weights(labels, _check_sample_weight(sample_weight, X, dtype=np.float64))
        check_penalty(penalty, len(X))
        with self._new_network(X.shape[1]) as network:
            with torch.no_grad():
                network.standardise([(network.inputs(as_tensor(X)), as_tensor(weights))])
            of_fit, of_val = (None, None) if beside is None else beside
            mass = self._place_of_mass()
            train = rows_of(network, X, labels, weights, mass=mass, beside=of_fit)
            held_out = None
            if validation is not None:
                X_val, y_val, w_val = validation
                y_val = np.searchsorted(self.classes_, y_val)
                w_val = balanced_weights(y_val, w_val)
                held_out = rows_of(network, np.asarray(X_val), y_val, w_val, mass=mass, beside=of_val)
            self.history_ = fit_network(
                network.core, train, held_out, self._fit_options(),
                loss=loss, penalty=penalty, on_epoch=on_epoch, checkpoint=checkpoint,
            )  # fmt: skip
        return self

    def fit_blocks(
        self,
        blocks: FeatureBlocks,
        y: NDArray,
        sample_weight: NDArray,
        *,
        validation: NDArray[np.bool_],
        on_epoch: EpochCallback | None = None,
        checkpoint: Path | None = None,
        penalty: Penalty | None = None,
    ) -> Self:
        """Fit the network to rows whose features are never all in memory.

        Rows are shuffled within a buffer (``block_batches``), so the numbers are not those of :meth:`fit`,
        but as good. What a row costs in memory does not depend on the number of features.

        Args:
            blocks: Features of n rows; finite as of :meth:`fit`.
            y: Labels of two classes, shape (n,).
            sample_weight: As of :meth:`fit`, shape (n,).
            validation: Rows that stop the fit early and are not in it otherwise, shape (n,).
            on_epoch, checkpoint: As of :meth:`fit`.
            penalty: As of :meth:`fit`, of the rows that are in the fit.

        Raises:
            InputError, ValueError: As of :meth:`fit`.
        """
        from darksieve.models.network_fit import accelerator_of, fit_network

        accelerator_of(self.device)
        n_features = blocks.shape[1]
        check_lengths(blocks, y, sample_weight, validation, penalty)
        self.classes_, labels = binary_labels(y)
        check_columns(self.features, n_features, self.mass_feature)
        self.n_features_in_ = n_features
        with self._new_network(n_features) as network:

            def part(chosen: NDArray[np.bool_]) -> BlockRows:
                weights = balanced_weights(labels[chosen], sample_weight[chosen])
                return BlockRows(network, blocks.of(chosen), labels[chosen], weights, self._place_of_mass())

            train = part(~validation)

            def inputs() -> Iterator[tuple[Tensor, Tensor]]:
                for rows, X in train.blocks:
                    refuse_infinite(X)
                    refuse_missing(X, self.features, self._missing())
                    yield network.inputs(as_tensor(X)), as_tensor(train.weights[rows])

            with torch.no_grad():
                network.standardise(inputs())
            self.history_ = fit_network(
                network.core, train, part(validation) if validation.any() else None, self._fit_options(),
                penalty=penalty, on_epoch=on_epoch, checkpoint=checkpoint,
            )  # fmt: skip
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
        from darksieve.models.network_fit import fit_network

        check_is_fitted(self, "network_")
        tuned = copy.deepcopy(self)
        network = tuned.network_.train()

        def rows(X: NDArray, y: NDArray, weight: NDArray, beside: NDArray) -> Rows:
            labels = np.searchsorted(self.classes_, y)
            weights = balanced_weights(labels, weight)
            return rows_of(network, X, labels, weights, mass=self._place_of_mass(), beside=beside)

        options = replace(
            self._fit_options(),
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, patience=epochs,
        )  # fmt: skip
        with torch_threads(self.n_threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            train, held_out = rows(X, y, sample_weight, beside[0]), rows(*validation, beside[1])
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
        return np.asarray(X[:, self._place_of_mass()])

    def logits(self, X: NDArray) -> NDArray[np.float32]:
        """Scores before the last function, which has no ties near 0 and 1, shape (n,)."""
        return self._output(X, torch.nn.Identity())

    def predict_proba(self, X: NDArray) -> NDArray[np.float32]:
        """Probabilities of the two classes at equal priors, shape (n, 2)."""
        signal = self._output(X, torch.sigmoid)
        return np.stack([1 - signal, signal], axis=1)

    def _output(self, X: NDArray, of_logit: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        check_is_fitted(self, "network_")
        finite = "allow-nan" if self._missing().any() else True
        X = validate_data(self, X, dtype=np.float32, reset=False, ensure_all_finite=finite)
        refuse_missing(X, self.features, self._missing())
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

    def save(self, directory: Path | str) -> None:
        """Write ``weights.safetensors`` and ``network.json`` into a directory."""
        check_is_fitted(self, "network_")
        write_network(Path(directory), self.network_, self._document())

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the directory does not hold such a model.
        """
        directory = Path(directory)
        model = cls._of_document(read_document(directory))
        with torch.random.fork_rng(devices=[]):  # building layers draws weights, which are replaced at once
            model.network_ = model._network(model.n_features_in_).eval()
        read_weights(directory, model.network_)
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

    def _place_of_mass(self) -> int | None:
        return None if self.features is None else list(self.features).index(self.mass_feature)

    @contextmanager
    def _new_network(self, n_features: int) -> Iterator[PhotonPerceptron | PhotonSet]:
        """A network with the weights of the seed, which is kept when the block ends."""
        with torch_threads(self.n_threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._network(n_features)
            yield network
        self.network_ = network.eval()

    def _fit_options(self) -> FitOptions:
        from darksieve.models.network_fit import FitOptions

        names = ("epochs", "batch_size", "learning_rate", "weight_decay", "patience", "gradient_clip")
        settings = {name: getattr(self, name) for name in names}
        return FitOptions(**settings, seed=self.seed, device=self.device)
