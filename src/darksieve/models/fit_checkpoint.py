"""Where a fit stands after whole epochs, and the file that a killed fit goes on from: no pickle in it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from darksieve.models.estimator import write_bytes

FORMAT = "darksieve-fit/1"
Tensors = dict[str, Tensor]


@dataclass(eq=False)
class FitState:
    """A fit after ``n_epochs`` whole epochs.

    Attributes:
        identity: SHA-256 of everything that the fit depends on.
        history: Losses of each epoch.
        weights: Of the network now.
        best: Of its best epoch: that of the least validation loss, or without one the last.
        best_epoch: Its number, or None before the first.
        moments: Tensors of the optimiser, by parameter and name.
        numbers: Settings of optimiser and schedule that change as the fit goes.
    """

    identity: str
    history: list[dict[str, float]] = field(default_factory=list)
    weights: Tensors = field(default_factory=dict)
    best: Tensors = field(default_factory=dict)
    best_epoch: int | None = None
    moments: Tensors = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def n_epochs(self) -> int:
        return len(self.history)

    def finished(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or ``patience`` of them were no better than the best."""
        if self.best_epoch is None:
            return False
        return self.n_epochs >= epochs or bool(patience and self.n_epochs - 1 - self.best_epoch >= patience)

    def after_epoch(self, losses: dict[str, float], core: nn.Module, optimiser: Any, schedule: Any) -> None:
        """Take over where network, optimiser and schedule stand at the end of an epoch."""
        least = math.inf if self.best_epoch is None else self.history[self.best_epoch].get("validation_loss")
        self.history.append(losses)
        self.weights = _copied(core.state_dict())
        if least is None or losses.get("validation_loss", -math.inf) < least:
            self.best_epoch, self.best = self.n_epochs - 1, self.weights
        state = optimiser.state_dict()
        self.moments = _copied(
            {f"{i}.{name}": value for i, own in state["state"].items() for name, value in own.items()}
        )
        self.numbers = {
            "groups": state["param_groups"],
            "schedule": {k: v for k, v in schedule.state_dict().items() if not callable(v)},
        }

    def restore(self, optimiser: Any, schedule: Any) -> None:
        """Put optimiser and schedule where they stood."""
        moments: dict[int, Tensors] = {}
        for key, value in self.moments.items():
            i, name = key.split(".", 1)
            moments.setdefault(int(i), {})[name] = value
        optimiser.load_state_dict({"state": moments, "param_groups": self.numbers["groups"]})
        schedule.load_state_dict(self.numbers["schedule"])


def save_fit_state(path: Path, state: FitState) -> None:
    """Write a checkpoint, atomically: tensors as safetensors, the rest as JSON in its header."""
    tensors = {
        f"{part}/{name}": value.clone()
        for part in ("weights", "best", "moments")
        for name, value in getattr(state, part).items()
    }
    document = {
        "format": FORMAT,
        "identity": state.identity,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "numbers": state.numbers,
    }
    write_bytes(path, safetensors.torch.save(tensors, metadata={"fit": json.dumps(document)}))


def load_fit_state(path: Path, identity: str) -> FitState | None:
    """What ``save_fit_state`` wrote of the very same fit; None for none, or a damaged file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("fit", "{}"))
            if document.get("format") != FORMAT or document["identity"] != identity:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError):
        return None
    parts: dict[str, Tensors] = {"weights": {}, "best": {}, "moments": {}}
    for name, value in tensors.items():
        part, key = name.split("/", 1)
        parts[part][key] = value
    return FitState(
        identity,
        document["history"],
        best_epoch=document["best_epoch"],
        numbers=document["numbers"],
        **parts,
    )


def _copied(tensors: Tensors) -> Tensors:
    return {name: torch.as_tensor(value).detach().cpu().clone() for name, value in tensors.items()}
