"""The fit of a network: its loss, its checkpoint, and what stops it."""

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from darksieve.errors import InputError
from darksieve.models.estimator import PHOTON_FEATURES, make_classifier
from darksieve.models.fit_rows import Rows
from darksieve.models.network_fit import (
    CrossEntropy,
    FitOptions,
    accelerator_of,
    fit_network,
    precision_of,
)

OPTIONS = FitOptions(
    epochs=4, batch_size=50, learning_rate=0.02, weight_decay=0.0, patience=0, gradient_clip=1.0, seed=1,
    device="cpu",
)  # fmt: skip


def rows(n=400, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 3, generator=generator)
    labels = (inputs[:, 0] + torch.randn(n, generator=generator) > 0).float()
    return Rows(inputs, labels, torch.ones(n), inputs[:, :1])


def network():
    torch.manual_seed(2)
    return nn.Linear(3, 1)


class LossThatExplodes:
    """Cross-entropy for a number of batches, then not a number."""

    name = "explodes"

    def __init__(self, after):
        self.left = after

    def __call__(self, logits, rows):
        self.left -= 1
        return CrossEntropy()(logits, rows) * (float("nan") if self.left < 0 else 1.0)


def test_an_exploding_loss_stops_with_its_cause_and_keeps_the_last_good_checkpoint(tmp_path):
    checkpoint = tmp_path / "fit"
    core = network()
    after = []
    with pytest.raises(InputError, match=r"exploded in epoch 2, batch 3 \(nan\); lower learning_rate"):
        fit_network(
            core,
            rows(),
            None,
            OPTIONS,
            loss=LossThatExplodes(19),  # 8 batches an epoch
            on_epoch=lambda *_: after.append(core.weight.detach().clone()),
            checkpoint=checkpoint,
        )
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        kept = file.get_tensor("weights/weight")
    assert len(after) == 2
    assert torch.equal(kept, after[1])


def test_a_loss_sees_the_own_mass_and_what_is_put_beside_it():
    seen = []

    class Loss:
        name = "spy"

        def __call__(self, logits, rows):
            seen.append(rows)
            return CrossEntropy()(logits, rows)

    rng = np.random.default_rng(1)
    X = rng.uniform(0.1, 0.9, (100, len(PHOTON_FEATURES))).astype(np.float32)
    y, beside = rng.integers(0, 2, 100), rng.random((100, 2)).astype(np.float32)
    model = make_classifier("photon_network", {"epochs": 1}, features=PHOTON_FEATURES)
    model.fit(X, y, loss=Loss(), beside=(beside, None))
    (batch,) = seen
    order = np.argsort(X[:, 0])
    of_batch = np.argsort(batch.beside[:, 0].numpy())
    np.testing.assert_array_equal(batch.beside.numpy()[of_batch], np.column_stack([X[:, :1], beside])[order])
    np.testing.assert_array_equal(batch.labels.numpy()[of_batch], y[order])


def test_another_loss_leads_elsewhere_and_does_not_go_on_from_the_checkpoint(tmp_path):
    class Square:
        name = "square"

        def __call__(self, logits, rows):
            return ((logits.sigmoid() - rows.labels) ** 2 * rows.weights).mean()

    one, other = network(), network()
    losses = fit_network(one, rows(), None, OPTIONS, checkpoint=tmp_path / "fit")
    others = fit_network(other, rows(), None, OPTIONS, loss=Square(), checkpoint=tmp_path / "fit")
    assert others[-1]["train_loss"] < 0.25 < losses[-1]["train_loss"]
    assert not torch.equal(one.weight, other.weight)


def test_checkpoints_hold_no_pickle(tmp_path):
    fit_network(network(), rows(), None, OPTIONS, checkpoint=tmp_path / "fit")
    content = (tmp_path / "fit").read_bytes()
    assert content[8:9] == b"{"  # safetensors: the length of a JSON header, and the header
    assert not content.startswith((b"PK", b"\x80"))  # a zip of torch, a bare pickle


def test_optimiser_and_schedule_go_on_bit_by_bit(tmp_path):
    whole, resumed = network(), network()
    history = fit_network(whole, rows(), rows(seed=2), OPTIONS)

    def kill(epoch, losses):
        if epoch == 1:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "fit"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit_network(resumed, rows(), rows(seed=2), OPTIONS, on_epoch=kill, checkpoint=checkpoint)
    resumed = network()
    assert fit_network(resumed, rows(), rows(seed=2), OPTIONS, checkpoint=checkpoint) == history
    assert torch.equal(resumed.weight, whole.weight)


def test_a_gpu_that_is_absent_is_refused_and_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="finds no GPU"):
        accelerator_of("cuda")
    assert accelerator_of("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator_of("auto") == "cuda"
    assert accelerator_of("cpu") == "cpu"


def test_precision_is_mixed_on_a_gpu_alone():
    assert precision_of("cpu") == "32-true"
    assert precision_of("cuda") == "bf16-mixed"


def test_gradients_are_clipped():
    """One step of AdamW hides the size of a gradient, the moments do not."""
    moments = []
    for clip in (0.0, 1e-3):
        core = network()
        fit = FitOptions(
            epochs=1, batch_size=400, learning_rate=0.02, weight_decay=0.0, patience=0,
            gradient_clip=clip, seed=1, device="cpu",
        )  # fmt: skip
        fit_network(core, rows(), None, fit)
        moments.append(core.weight.grad.norm().item() if core.weight.grad is not None else None)
    assert moments[1] is not None
    assert moments[1] <= 1e-3 * (1 + 1e-4)
    assert moments[0] > 10 * moments[1]
