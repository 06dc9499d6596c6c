"""The perceptron on a candidate's angles and energies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from darksieve.models.photon_inputs import CLIP, TRANSFORMS, Moments


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
        n_inputs = sum(len(TRANSFORMS[name](one)) for name in transforms)
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

    @property
    def core(self) -> nn.Module:
        """What is fitted: prepared inputs (n, n_inputs) to logits (n, 1)."""
        return self.perceptron

    def inputs(self, X: Tensor) -> Tensor:
        """Transformed columns, not standardised yet: (n, n_features) -> (n, n_inputs)."""
        columns = [column for i, name in enumerate(self.transforms) for column in TRANSFORMS[name](X[:, i])]
        return torch.stack(columns, dim=1)

    def standardise(self, parts: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        """Take shift and scale from parts of the training rows: inputs (n, n_inputs) and weights (n,)."""
        moments = Moments()
        for inputs, weights in parts:
            moments.add(inputs, weights)
        shift, scale = moments.shift_and_scale()
        self.shift.copy_(shift)
        self.scale.copy_(scale)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Standardised inputs of the perceptron, same shape."""
        return ((inputs - self.shift) * self.scale).clamp(-CLIP, CLIP)

    def forward(self, X: Tensor) -> Tensor:
        return self.perceptron(self.prepare(self.inputs(X))).squeeze(-1)  # (n, 1) -> (n,)
