"""Files of a fitted network: its weights as safetensors, the rest as JSON; no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from darksieve.atomic import write_json
from darksieve.errors import InputError
from darksieve.models.estimator import read_json, write_bytes

FORMAT = "darksieve-photon-network/2"


def write_network(directory: Path, network: nn.Module, document: dict[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``network.json`` into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(directory / "weights.safetensors", safetensors.torch.save(state))
    write_json(directory / "network.json", {"format": FORMAT} | document)


def read_document(directory: Path) -> dict[str, Any]:
    """What ``network.json`` says.

    Raises:
        InputError: If it is absent or of another format.
    """
    document = read_json(directory / "network.json")
    if document.get("format") != FORMAT:
        raise InputError(f"{directory}: format {document.get('format')!r} is not {FORMAT!r}; train it again")
    return document


def read_weights(directory: Path, network: nn.Module) -> None:
    """Give a network the weights of a directory.

    Raises:
        InputError: If they are absent, damaged, or of another network.
    """
    try:
        network.load_state_dict(safetensors.torch.load((directory / "weights.safetensors").read_bytes()))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(f"{directory}/weights.safetensors cannot be read: {error}") from None
