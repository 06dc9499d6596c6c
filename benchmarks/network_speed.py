"""Speed of the photon network: candidates a second through ONNX, and the fit beside a bare loop.

Both are measured side by side in one run: ONNX against torch, the fit (Lightning, losses, best epoch, early
stop) against the same steps of the same network in a loop of a dozen lines.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darksieve.models.bundle import Bundle
from darksieve.models.estimator import PHOTON_FEATURES, PhotonNetworkOptions
from darksieve.models.export import OnnxNetwork, export_onnx
from darksieve.models.fit_rows import Rows
from darksieve.models.network_fit import CrossEntropy, FitOptions, fit_network
from darksieve.models.torch_threads import torch_threads

N_ROWS = 2_000_000
REPEATS = 7
EPOCHS = 10  # the default: setting a fit up takes a part of a second


def rates(network: Any, X: NDArray[np.float32], n_threads: int = 2) -> tuple[float, float, float]:
    """Candidates a second through ONNX and through torch, and the largest difference of a probability."""
    bundle = Bundle(
        name="photons",
        model="photon_network",
        options=PhotonNetworkOptions(),
        features=PHOTON_FEATURES,
        classifiers=(network,),
        schema=dict.fromkeys(PHOTON_FEATURES, "float32"),
        mass_column="M_gg",
        examples=X[:10_000],
    )
    many = np.ascontiguousarray(np.resize(X, (N_ROWS, X.shape[1])))
    with tempfile.TemporaryDirectory() as folder:
        parity = export_onnx(bundle, folder)
        graph = OnnxNetwork(Path(folder) / "fold0.onnx", n_threads)
        graph.probability(many[:100_000])
        of_graph, of_torch = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            graph.probability(many)
            of_graph.append(N_ROWS / (time.perf_counter() - start))
            with torch_threads(n_threads), torch.inference_mode():
                start = time.perf_counter()
                for block in torch.from_numpy(many).split(16_384):
                    torch.sigmoid(network.network_(block))
                of_torch.append(N_ROWS / (time.perf_counter() - start))
    return max(of_graph), max(of_torch), parity.largest_difference


def _network() -> torch.nn.Module:
    torch.manual_seed(1)
    layers: list[torch.nn.Module] = []
    for before, after in ((21, 48), (48, 48)):
        layers += [torch.nn.Linear(before, after), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(48, 1))


def _bare_loop(core: torch.nn.Module, rows: Rows, options: FitOptions) -> None:
    """The same steps: shuffled batches, cross-entropy, clipping, AdamW, one cycle."""
    n, size = len(rows.labels), options.batch_size
    steps = options.epochs * -(-n // size)
    optimiser = torch.optim.AdamW(
        core.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=steps + 1, pct_start=0.2
    )
    loss_of = CrossEntropy()
    for _ in range(options.epochs):
        for order in torch.randperm(n).split(size):
            batch = rows.take(order)
            loss = loss_of(core(batch.inputs).squeeze(-1), batch)
            float(loss.detach())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(core.parameters(), options.gradient_clip)
            optimiser.step()
            schedule.step()


def fit_against_bare_loop(n_rows: int = 200_000) -> tuple[float, float]:
    """CPU seconds of the fit and of the bare loop, the best of several in turn, one thread."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n_rows, 21, generator=generator)
    labels = (inputs[:, 0] > 0).float()
    rows = Rows(inputs, labels, torch.ones(n_rows), inputs[:, :1])
    options = FitOptions(
        epochs=EPOCHS, batch_size=4096, learning_rate=0.01, weight_decay=1e-4, patience=0,
        gradient_clip=1.0, seed=1, device="cpu",
    )  # fmt: skip
    ours, bare = [], []
    with torch_threads(1):
        for _ in range(REPEATS):
            start = time.process_time()
            fit_network(_network(), rows, None, options)
            ours.append(time.process_time() - start)
            start = time.process_time()
            _bare_loop(_network(), rows, options)
            bare.append(time.process_time() - start)
    return min(ours), min(bare)
