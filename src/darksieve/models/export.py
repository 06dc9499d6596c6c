"""Export: the networks of a bundle as ONNX graphs, from physical units to the signal's probability.

Layout of the directory::

    fold0.onnx …      one graph each: "features" (n, n_features) float32 in, "probability" (n,) float32 out;
                      logarithms, invariants, masks, standardisation and calibration are inside
    export.json       features in order, folds, range of masses, hashes, and how well the graphs agree
"""

from __future__ import annotations

import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darksieve import __version__
from darksieve.atomic import sha256_of_file, write_json
from darksieve.errors import InputError
from darksieve.models.bundle import Bundle
from darksieve.models.calibration import HIGHEST, LOWEST, ScoreCalibration
from darksieve.models.estimator import Classifier, write_bytes

if TYPE_CHECKING:
    import torch

FORMAT = "darksieve-onnx/1"
INPUT, OUTPUT = "features", "probability"
OPSET = 17  # of 2022: what analysis releases have
ROWS_AT_ONCE = 4096  # the values of a layer then stay in a core's own cache
TOLERANCE = 1e-5  # of a probability: some 100 roundings of single precision


@dataclass(frozen=True)
class Parity:
    """How well exported graphs agree with the bundle.

    Attributes:
        n_rows: Rows that were compared, through the graph of every fold.
        largest_difference: Of two probabilities.
    """

    n_rows: int
    largest_difference: float


def export_onnx(bundle: Bundle, directory: Path | str, X: NDArray[np.float32] | None = None) -> Parity:
    """Write the graphs of all folds, and compare them with the bundle on real rows.

    Args:
        bundle: Of photon networks.
        directory: Where to write; ``export.json``, which makes it an export, comes last.
        X: Rows to compare on, shape (n, n_features), in the order of the bundle's features; by default the
            examples that the bundle keeps from its training.

    Returns:
        How well they agree.

    Raises:
        InputError: If the bundle holds other models, has no rows to compare on, onnx or onnxruntime is not
            installed, or a graph does not agree within 1e-5.
    """
    if bundle.model != "photon_network":
        raise InputError(
            f"bundle {bundle.name}: ONNX graphs are made of photon networks, this is a {bundle.model}; its"
            " trees are in fold*/trees.ubj, which xgboost reads"
        )
    X = bundle.examples if X is None else np.asarray(X, dtype=np.float32)
    if X is None or len(X) == 0:
        raise InputError(f"bundle {bundle.name}: there are no events to compare the graphs on; give some")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "export.json").unlink(missing_ok=True)
    largest = 0.0
    for k, classifier in enumerate(bundle.classifiers):
        path = directory / f"fold{k}.onnx"
        calibration = bundle.calibrations[k] if bundle.calibrations else None
        write_bytes(path, _graph(classifier, bundle, calibration))
        own = classifier.predict_proba(X)[:, 1]
        if calibration is not None:
            own = calibration(own)
        difference = float(np.abs(OnnxNetwork(path).probability(X) - own).max())
        if not difference <= TOLERANCE:
            path.unlink()
            raise InputError(
                f"bundle {bundle.name}: the graph of fold {k} differs from the network by {difference:.2g} on"
                f" {len(X)} events, more than {TOLERANCE:g}; it was not kept"
            )
        largest = max(largest, difference)
    parity = Parity(len(X), largest)
    write_json(directory / "export.json", _document(bundle, directory, parity))
    return parity


class OnnxNetwork:
    """An exported graph, run by onnxruntime.

    Args:
        path: The graph.
        n_threads: Blocks of rows that run at a time, each on one thread: the steps of a small network are too
            short to be shared among threads.

    Raises:
        InputError: If onnxruntime is not installed, or the file is no graph.
    """

    def __init__(self, path: Path | str, n_threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(_INSTALL.format("onnxruntime")) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.n_threads = n_threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class for each way a file can be bad
            raise InputError(f"{path}: no graph that onnxruntime can run: {error}") from None

    def probability(self, X: NDArray[np.float32], rows_at_once: int = ROWS_AT_ONCE) -> NDArray[np.float32]:
        """Signal probability of rows (n, n_features), shape (n,)."""
        out = np.empty(len(X), dtype=np.float32)

        def run(start: int) -> None:
            block = np.ascontiguousarray(X[start : start + rows_at_once], dtype=np.float32)
            (out[start : start + len(block)],) = self._session.run([OUTPUT], {INPUT: block})

        starts = range(0, len(X), rows_at_once)
        if self.n_threads == 1:
            for start in starts:
                run(start)
        else:
            with ThreadPoolExecutor(self.n_threads) as threads:
                for _ in threads.map(run, starts):  # what fails in a thread is raised here
                    pass
        return out


_INSTALL = "{} is not installed, which ONNX needs: pip install 'darksieve[onnx]'"


def _graph(classifier: Classifier, bundle: Bundle, calibration: ScoreCalibration | None) -> bytes:
    """The graph of one network with its calibration, with what it takes in its metadata."""
    try:
        import onnx
    except ImportError:
        raise InputError(_INSTALL.format("onnx")) from None
    import torch

    from darksieve.models.folded_perceptron import FoldedPerceptron
    from darksieve.models.perceptron import PhotonPerceptron

    class Probability(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            z = self.network(X)  # (n,), ln odds
            if calibration is not None:
                z = _calibrated(z, calibration)
            return torch.sigmoid(z)

    example = torch.full((2, len(bundle.features)), 0.5)
    network: Any = classifier.network_  # type: ignore[attr-defined]  # a photon network
    if isinstance(network, PhotonPerceptron):
        network = FoldedPerceptron(network)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "graph.onnx"
        warnings.simplefilter("ignore")  # tracing warns of constants, which these are, and of its own age
        torch.onnx.export(
            Probability(network).eval(),
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
        )
        graph = onnx.load_from_string(path.read_bytes())
    graph.producer_name, graph.producer_version = "darksieve", __version__
    for key, value in (("features", ",".join(bundle.features)), ("bundle", bundle.name)):
        graph.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _calibrated(z: torch.Tensor, calibration: ScoreCalibration) -> torch.Tensor:
    """The chain of lines as a sum of rising ramps, which ONNX has: no term cancels another."""
    import torch

    x, y = calibration.raw, calibration.calibrated
    z = torch.clamp(z, LOWEST, HIGHEST)
    outside = torch.clamp(z - x[0], max=0.0) + torch.clamp(z - x[-1], min=0.0)
    out = y[0] + calibration.outer_slope * outside  # (n,)
    for i in range(len(x) - 1):
        slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        out = out + slope * torch.clamp(z - x[i], min=0.0, max=x[i + 1] - x[i])
    return out


def _document(bundle: Bundle, directory: Path, parity: Parity) -> dict[str, Any]:
    files = [directory / f"fold{k}.onnx" for k in range(bundle.n_folds)]
    return {
        "format": FORMAT,
        "name": bundle.name,
        "version": __version__,
        "features": list(bundle.features),
        "may_be_nan": list(bundle.may_be_missing),
        "mass_column": bundle.mass_column,
        "mass_range": None if bundle.mass_range is None else list(bundle.mass_range),
        "folds": {"n": bundle.n_folds, "salt": bundle.fold_salt},
        "parity": {"n_rows": parity.n_rows, "largest_difference": parity.largest_difference},
        "files": {path.name: sha256_of_file(path) for path in files},
    }
