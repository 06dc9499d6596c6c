"""The fit of a network: Lightning's Trainer, one-cycle schedule, early stop, best epoch kept, resumable."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from darksieve.errors import InputError
from darksieve.models.estimator import EpochCallback
from darksieve.models.fit_checkpoint import FitState, load_fit_state, save_fit_state
from darksieve.models.fit_rows import Rows, RowSource
from darksieve.models.penalty import Penalty

STEPS_AT_ONCE = 8  # batches that Lightning hands over together


class Loss(Protocol):
    """What a fit minimises."""

    @property
    def name(self) -> str:
        """It and its numbers: a fit goes on from a checkpoint only with a loss of the same name."""

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        """The loss of a batch, a scalar, from logits of shape (n,)."""


@dataclass(frozen=True)
class CrossEntropy:
    """Weighted cross-entropy: its minimum is the likelihood ratio at equal priors."""

    name: str = "cross-entropy"

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        losses = binary_cross_entropy_with_logits(logits, rows.labels, reduction="none")
        return (rows.weights * losses).mean()


@dataclass(frozen=True)
class FitOptions:
    """How a network is fitted.

    Attributes:
        epochs, batch_size, learning_rate, weight_decay, patience, gradient_clip: As of
            ``PhotonNetworkOptions``.
        seed: Of the order of the rows.
        device: "auto", "cpu" or "cuda".
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    gradient_clip: float
    seed: int
    device: str = "auto"


def fit_network(
    core: nn.Module,
    train: RowSource,
    validation: RowSource | None,
    options: FitOptions,
    *,
    loss: Loss | None = None,
    penalty: Penalty | None = None,
    on_epoch: EpochCallback | None = None,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Fit a network in place and leave it with the weights of its best epoch.

    Args:
        core: Prepared inputs (n, n_inputs) to logits (n, 1).
        validation: Rows that are not in the fit, or None: then the last epoch is the best.
        loss: By default the weighted cross-entropy.
        penalty: Of the rows of ``train``; added to the loss of each batch, not to that of validation.
        checkpoint: File written after each epoch. A fit that finds one made from the same rows and settings
            goes on from there, to the same numbers.

    Returns:
        ``train_loss`` and ``validation_loss`` of each epoch.

    Raises:
        InputError: If a GPU is asked for and absent, or the loss explodes; the checkpoint is then that of the
            last epoch that was finite.
    """
    accelerator = accelerator_of(options.device)
    loss = loss if loss is not None else CrossEntropy()
    state = None
    identity = ""
    if checkpoint is not None:
        settings: tuple[Any, ...] = (asdict(options), loss.name)
        if penalty is not None:
            of_variables = hashlib.sha256(penalty.variables.tobytes()).hexdigest()
            settings += (penalty.strength, penalty.max_rows, of_variables)
        identity = _identity(core, train, validation, settings)
        state = load_fit_state(checkpoint, identity)
    if state is None:
        state = FitState(identity)
    if state.finished(options.epochs, options.patience):
        core.load_state_dict(state.best)
        return state.history
    n_batches = math.ceil(train.n_rows / options.batch_size)
    loop = _Loop(core, loss, penalty, options, state, n_steps=options.epochs * n_batches)
    callbacks: list[Callback] = [_Epochs(validation, options, on_epoch)]
    if checkpoint is not None:
        callbacks.append(_EveryEpoch(checkpoint))
    with _quiet():
        trainer = Trainer(
            max_epochs=options.epochs - state.n_epochs,
            accelerator=accelerator,
            devices=1,
            precision=precision_of(accelerator),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
        )
        trainer.fit(loop, _Batches(train, options, state))
    core.load_state_dict(state.best)
    core.cpu()
    return state.history


def accelerator_of(device: str) -> str:
    """Lightning's name of the device.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError("photon_network.device is 'cuda', but torch finds no GPU here; use 'auto' or 'cpu'")
    return "cuda" if there and device != "cpu" else "cpu"


def precision_of(accelerator: str) -> Any:
    """Mixed precision on a GPU, whose gradients need no scale; a CPU would be slower, with other numbers."""
    return "bf16-mixed" if accelerator == "cuda" else "32-true"


class _Batches:
    """Shuffled batches of an epoch, several at once."""

    def __init__(self, rows: RowSource, options: FitOptions, state: FitState) -> None:
        self.rows = rows
        self.options = options
        self.state = state

    def __len__(self) -> int:
        return math.ceil(self.rows.n_rows / (STEPS_AT_ONCE * self.options.batch_size))

    def __iter__(self) -> Iterator[list[tuple[Rows, Tensor]]]:
        batches = self.rows.batches(self.options.batch_size, self.options.seed, self.state.n_epochs)
        while some := list(islice(batches, STEPS_AT_ONCE)):
            yield some


class _Loop(LightningModule):
    """The step of the fit; ``state`` is where the fit stands after whole epochs."""

    def __init__(
        self,
        core: nn.Module,
        loss: Loss,
        penalty: Penalty | None,
        options: FitOptions,
        state: FitState,
        n_steps: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # several steps at once: a small network's step is short
        self.core = core
        self.loss = loss
        self.penalty = penalty
        self.options = options
        self.state = state
        self.n_steps = n_steps
        self.summed, self.n_rows = 0.0, 0
        if state.n_epochs:
            core.load_state_dict(state.weights)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if device.type == "cpu":
            return batch  # it is there; looking through it costs more than a step should
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batches: list[tuple[Rows, Tensor]], index: int) -> None:
        optimiser: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        for i, (rows, which) in enumerate(batches):
            loss = self._loss(rows, which, index * STEPS_AT_ONCE + i)
            optimiser.zero_grad()
            self.manual_backward(loss)
            if self.options.gradient_clip:
                nn.utils.clip_grad_norm_(self.core.parameters(), self.options.gradient_clip)
            optimiser.step()
            schedule.step()

    def _loss(self, rows: Rows, which: Tensor, number: int) -> Tensor:
        """The loss of a batch with its penalty; ``number`` counts the batches of the epoch."""
        logits = self.core(rows.inputs).squeeze(-1)  # (n, 1) -> (n,)
        loss = self.loss(logits, rows)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"photon_network: the loss exploded in epoch {self.state.n_epochs}, batch {number} ({value});"
                f" lower learning_rate, now {self.options.learning_rate:g}, or set gradient_clip, now "
                f"{self.options.gradient_clip:g}"
            )
        self.summed += value * len(rows.labels)
        self.n_rows += len(rows.labels)
        if self.penalty is not None:
            of_batch = self.penalty.take(which.cpu().numpy())
            loss = loss + _PenaltyOfBatch.apply(torch.sigmoid(logits), rows.labels, rows.weights, of_batch)
        return loss

    def mean_loss(self) -> float:
        """Mean over the rows of the epoch, which it ends."""
        mean = self.summed / self.n_rows
        self.summed, self.n_rows = 0.0, 0
        return mean

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            self.core.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=self.device.type == "cpu",  # with mixed precision it could not clip gradients
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=self.options.learning_rate,
            total_steps=max(self.n_steps + 1, 10),  # a shorter cycle has no rise
            pct_start=0.2,
        )
        if self.state.n_epochs:
            self.state.restore(optimiser, schedule)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


class _Epochs(Callback):
    """After each epoch: the losses, the best weights, and whether to stop early."""

    def __init__(
        self, validation: RowSource | None, options: FitOptions, on_epoch: EpochCallback | None
    ) -> None:
        self.validation = validation
        self.options = options
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Loop)
        state = pl_module.state
        losses = {"train_loss": pl_module.mean_loss()}
        if self.validation is not None:
            losses["validation_loss"] = _mean_loss(pl_module, self.validation)
        optimiser, schedule = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
        state.after_epoch(losses, pl_module.core, optimiser, schedule)
        trainer.should_stop = state.finished(self.options.epochs, self.options.patience)
        if self.on_epoch is not None:
            self.on_epoch(state.n_epochs - 1, losses)


class _EveryEpoch(Callback):
    """Writes a checkpoint after each epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, _Loop)
        save_fit_state(self.path, pl_module.state)


@torch.no_grad()
def _mean_loss(loop: _Loop, rows: RowSource, rows_at_once: int = 65536) -> float:
    """Loss of rows that are not in the fit, in blocks that fit into memory."""
    total = 0.0
    for part in rows.parts(rows_at_once):
        block = Rows(*(column.to(loop.device) for column in part))
        value = loop.loss(loop.core(block.inputs).squeeze(-1), block)
        total += float(value) * block.n_rows
    return total / rows.n_rows


def _identity(core: nn.Module, train: RowSource, validation: RowSource | None, settings: tuple) -> str:
    sha = hashlib.sha256(repr((settings, torch.__version__)).encode())
    for tensor in core.state_dict().values():
        sha.update(tensor.contiguous().numpy().tobytes())
    for rows in (train, *(() if validation is None else (validation,))):
        rows.update(sha)
    return sha.hexdigest()


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
