"""The training loop of a network: weighted cross-entropy, one-cycle schedule, best epoch kept, resumable."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from darksieve.atomic import atomic_path
from darksieve.errors import InputError
from darksieve.models.estimator import EpochCallback
from darksieve.models.penalty import Penalty

Part = tuple[Tensor, Tensor, Tensor]  # inputs (n, n_inputs), labels (n,), weights (n,)


def fit_perceptron(
    perceptron: nn.Module,
    train: Part,
    validation: Part | None,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    patience: int,
    seed: int,
    on_epoch: EpochCallback | None = None,
    checkpoint: Path | None = None,
    penalty: Penalty | None = None,
) -> list[dict[str, float]]:
    """Fit a perceptron in place and leave it with the weights of its best epoch.

    Args:
        train: Inputs (n, n_inputs), labels (n,) of zeros and ones, weights (n,) of mean 1.
        validation: The same of rows that are not in the fit, or None: then the last epoch is the best.
        checkpoint: File written after each epoch. A fit that finds one made from the same rows and settings
            goes on from there, to the same numbers.
        penalty: Of the rows of ``train``; added to the loss of each batch, not to that of validation.

    Returns:
        ``train_loss`` and ``validation_loss`` of each epoch.
    """
    n_batches = math.ceil(len(train[0]) / batch_size)
    settings: tuple[Any, ...] = (epochs, batch_size, learning_rate, weight_decay, patience, seed)
    if penalty is not None:
        settings += (
            penalty.strength,
            penalty.max_rows,
            hashlib.sha256(penalty.variables.tobytes()).hexdigest(),
        )
    identity = _identity(perceptron, train, validation, settings)
    state = None if checkpoint is None else _state_of(checkpoint, identity)
    if state is not None and state["finished"]:
        perceptron.load_state_dict(state["best"])
        return state["history"]
    loop = _Loop(
        perceptron,
        validation,
        n_steps=epochs * n_batches,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        on_epoch=on_epoch,
        identity=identity,
        penalty=penalty,
    )
    with _quiet():
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=checkpoint is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[] if checkpoint is None else [_EveryEpoch(checkpoint)],
        )
        batches = _Batches(train, batch_size, seed, trainer)
        trainer.fit(loop, batches, ckpt_path=None if state is None else checkpoint, weights_only=True)
    perceptron.load_state_dict(loop.best)
    perceptron.cpu()
    return loop.history


class _Batches:
    """Shuffled batches of tensors in memory; the order depends on seed and epoch alone."""

    def __init__(self, part: Part, batch_size: int, seed: int, trainer: Trainer) -> None:
        self.part = part
        self.batch_size = batch_size
        self.seed = seed
        self.trainer = trainer

    def __len__(self) -> int:
        return math.ceil(len(self.part[0]) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        inputs, labels, weights = self.part
        key = hashlib.sha256(f"{self.seed}:{self.trainer.current_epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:7], "little"))
        order = torch.randperm(len(inputs), generator=generator)
        for rows in order.split(self.batch_size):
            yield inputs[rows], labels[rows], weights[rows], rows


class _Loop(LightningModule):
    def __init__(
        self,
        perceptron: nn.Module,
        validation: Part | None,
        *,
        n_steps: int,
        learning_rate: float,
        weight_decay: float,
        patience: int,
        on_epoch: EpochCallback | None,
        identity: str,
        penalty: Penalty | None = None,
    ) -> None:
        super().__init__()
        self.penalty = penalty
        self.perceptron = perceptron
        self.validation = validation
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.on_epoch = on_epoch
        self.identity = identity
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = -1  # none yet
        self.least_loss = math.inf
        self.sum_of_losses = torch.zeros(2, dtype=torch.float64)  # weighted loss, weight

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], index: int) -> Tensor:
        inputs, labels, weights, rows = batch
        logits = self.perceptron(inputs).squeeze(-1)  # (n, 1) -> (n,)
        loss = (weights * binary_cross_entropy_with_logits(logits, labels, reduction="none")).mean()
        n = len(labels)
        self.sum_of_losses += torch.tensor([n * float(loss.detach()), n], dtype=torch.float64)
        if self.penalty is not None:
            of_batch = self.penalty.take(rows.cpu().numpy())
            loss = loss + _PenaltyOfBatch.apply(torch.sigmoid(logits), labels, weights, of_batch)
        return loss

    def on_train_epoch_end(self) -> None:
        total, n = self.sum_of_losses.tolist()
        self.sum_of_losses = torch.zeros(2, dtype=torch.float64)
        losses = {"train_loss": total / n}
        if not math.isfinite(losses["train_loss"]):
            raise InputError(
                f"photon_network: the loss of epoch {self.current_epoch} is not finite; lower learning_rate,"
                f" now {self.learning_rate}"
            )
        if self.validation is not None:
            losses["validation_loss"] = self._validation_loss(self.validation)
        self.history.append(losses)
        if self.best_epoch < 0 or self.validation is None or losses["validation_loss"] < self.least_loss:
            self.best_epoch = self.current_epoch
            self.least_loss = losses.get("validation_loss", math.inf)
            self.best = {k: v.detach().cpu().clone() for k, v in self.perceptron.state_dict().items()}
        elif self.patience and self.current_epoch - self.best_epoch >= self.patience:
            self.trainer.should_stop = True
        if self.on_epoch is not None:
            self.on_epoch(self.current_epoch, losses)

    @torch.no_grad()
    def _validation_loss(self, part: Part, rows_at_once: int = 65536) -> float:
        total, total_weight = 0.0, 0.0
        for inputs, labels, weights in zip(*(t.split(rows_at_once) for t in part), strict=True):
            logits = self.perceptron(inputs.to(self.device)).squeeze(-1).cpu()
            loss = binary_cross_entropy_with_logits(logits, labels, reduction="none")
            total += float((weights * loss).double().sum())
            total_weight += float(weights.double().sum())
        return total / total_weight

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            self.perceptron.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.n_steps + 1, pct_start=0.2
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["darksieve"] = {
            "identity": self.identity,
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "least_loss": self.least_loss,
            "finished": self.trainer.should_stop or len(self.history) == self.trainer.max_epochs,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["darksieve"]
        self.history = state["history"]
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.least_loss = state["least_loss"]


class _PenaltyOfBatch(torch.autograd.Function):
    """The penalty of a batch's scores as one node of the graph: it brings its own gradient."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, weights: Tensor, penalty: Penalty) -> Tensor:
        value, gradient = penalty(
            scores.detach().cpu().numpy(), labels.cpu().numpy() == 0, weights.cpu().numpy()
        )
        ctx.save_for_backward(torch.as_tensor(gradient, dtype=scores.dtype, device=scores.device))
        return scores.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *of_value: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return of_value[0] * gradient, None, None, None


class _EveryEpoch(Checkpoint):
    """Writes a checkpoint after each epoch, under a temporary name first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with atomic_path(self.path) as temporary:
            trainer.save_checkpoint(temporary)


def _identity(perceptron: nn.Module, train: Part, validation: Part | None, settings: tuple) -> str:
    sha = hashlib.sha256(repr((settings, torch.__version__)).encode())
    for tensor in (*perceptron.state_dict().values(), *train, *(validation or ())):
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _state_of(path: Path, identity: str) -> dict[str, Any] | None:
    """What this loop left in a checkpoint made from the same rows and settings, or None."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # cut short, or no checkpoint, which torch says in many ways: the fit starts anew
        return None
    ours = state.get("darksieve") if isinstance(state, dict) else None
    return ours if ours is not None and ours["identity"] == identity else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's banners and advice, which are about loaders and loggers that are not used."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
