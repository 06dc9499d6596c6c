"""The set network: attention among the photons of an event, whichever of them there are.

Photons of a pair are alike; the recoil and a further photon are told apart by flags. So the score does not
depend on the order of the photons beyond the choice of pair and recoil. A photon that an event lacks is
masked, and its columns are NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from darksieve.models.photon_columns import ROLES, PhotonLayout
from darksieve.models.photon_inputs import CLIP, TRANSFORMS, Moments, safe_log, transform_of

_FLAG = {"pair1": 0, "pair2": 0, "recoil": 1, "extra": 2}  # photons of a pair are alike
_HIDDEN = 1e4  # less attention to an absent photon: its share underflows to exactly 0


class PhotonSet(nn.Module):
    """Invariants of photons, standardisation, attention: features (n, n_features) to logits (n,).

    A photon is seen through its invariants with the beams, ln k = ln E + ln(1 - cos) and ln k', two photons
    through the logarithm of their squared mass (the pair's own is the candidate's mass, which is exact also
    where the photons are nearly parallel), the candidate through its mass and what else is not a photon's.

    Args:
        features: Names of the columns.
        mass_feature: The one with the mass of the pair.
        width: Numbers that stand for one photon.
        heads: Attention heads; they divide ``width``.
        layers: Rounds of attention.
    """

    def __init__(
        self, features: Sequence[str], mass_feature: str, *, width: int, heads: int, layers: int
    ) -> None:
        super().__init__()
        self.layout = layout = PhotonLayout.of(features)
        self.mass = list(features).index(mass_feature)
        self.context_transforms = tuple(transform_of(features[i]) for i in layout.context)
        one = torch.ones(1)
        self.n_photons = len(layout.roles)
        self.n_variables = 4 + len(layout.variables)
        self.pairs = tuple(combinations(range(self.n_photons), 2)) if layout.azimuth else ()
        n_context = sum(len(TRANSFORMS[name](one)) for name in self.context_transforms)
        sizes = [self.n_photons * self.n_variables, len(self.pairs), n_context, self.n_photons]
        self.sizes = tuple(sizes)
        n_constants = self.n_variables + min(len(self.pairs), 1) + n_context
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(n_constants))
        self.register_buffer("scale", torch.ones(n_constants))
        self.attention = SetAttention(
            layout.roles, self.pairs, self.sizes, n_context, width=width, heads=heads, layers=layers
        )

    @property
    def core(self) -> nn.Module:
        """What is fitted: prepared inputs (n, n_inputs) to logits (n, 1)."""
        return self.attention

    def inputs(self, X: Tensor) -> Tensor:
        """Photons, pairs, context and mask, not standardised yet: (n, n_features) -> (n, n_inputs)."""
        layout = self.layout
        energy, cosine = X[:, list(layout.energy)], X[:, list(layout.cosine)]  # (n, n_photons)
        # a photon is there if all that is known of photons is known of it
        there = torch.isfinite(energy) & torch.isfinite(cosine)
        for positions in (*layout.variable, *([layout.azimuth] if layout.azimuth else [])):
            there = there & torch.isfinite(X[:, list(positions)])
        mask = there.to(X.dtype)
        energy, cosine = _filled(energy, there), _filled(cosine, there)
        columns = [safe_log(energy), cosine, safe_log(1 - cosine), safe_log(1 + cosine)]
        columns += [_filled(X[:, list(positions)], there) for positions in layout.variable]
        photons = torch.stack(columns, dim=2)  # (n, n_photons, n_variables)
        parts = [photons.flatten(1)]
        if self.pairs:
            azimuth = _filled(X[:, list(layout.azimuth)], there)
            first, second = ([pair[k] for pair in self.pairs] for k in (0, 1))
            sine = (1 - cosine**2).clamp(min=0).sqrt()
            turn = azimuth[:, first] - azimuth[:, second]
            opening = cosine[:, first] * cosine[:, second] + sine[:, first] * sine[:, second] * turn.cos()
            masses = safe_log(2 * energy[:, first] * energy[:, second] * (1 - opening))
            parts += [2 * safe_log(X[:, self.mass, None]), masses[:, 1:]]
        for place, name in zip(layout.context, self.context_transforms, strict=True):
            parts += [column[:, None] for column in TRANSFORMS[name](X[:, place])]
        return torch.cat([*parts, mask], dim=1)

    def _split(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Photons (n, n_photons, n_variables), pairs (n, n_pairs), context, mask (n, n_photons)."""
        photons, pairs, context, mask = inputs.split(self.sizes, dim=1)
        return photons.unflatten(1, (self.n_photons, self.n_variables)), pairs, context, mask

    def _pair_mask(self, mask: Tensor) -> Tensor:
        """1 where both photons of a pair are there, (n, n_pairs)."""
        first, second = ([pair[k] for pair in self.pairs] for k in (0, 1))
        return mask[:, first] * mask[:, second]

    def standardise(self, parts: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        """Take shift and scale from parts of the training rows: inputs (n, n_inputs) and weights (n,).

        All photons share them.
        """
        moments = [Moments() for _ in range(3 if self.pairs else 2)]
        for inputs, weights in parts:
            photons, pairs, context, mask = self._split(inputs)
            w = torch.ones(len(inputs)) if weights is None else weights
            moments[0].add(photons.flatten(0, 1), (w[:, None] * mask).flatten())
            if self.pairs:
                moments[1].add(pairs.reshape(-1, 1), (w[:, None] * self._pair_mask(mask)).flatten())
            moments[-1].add(context, w)
        found = [one.shift_and_scale() for one in moments]
        self.shift.copy_(torch.cat([shift for shift, _ in found]))
        self.scale.copy_(torch.cat([scale for _, scale in found]))

    def prepare(self, inputs: Tensor) -> Tensor:
        """Standardised inputs of the attention, 0 for what is absent, same shape."""
        photons, pairs, context, mask = self._split(inputs)
        v, p = self.n_variables, min(len(self.pairs), 1)
        parts_of = [v, p, len(self.shift) - v - p]
        shift, scale = self.shift.split(parts_of), self.scale.split(parts_of)
        photons = ((photons - shift[0]) * scale[0]).clamp(-CLIP, CLIP) * mask[:, :, None]
        parts = [photons.flatten(1)]
        if self.pairs:
            parts.append(((pairs - shift[1]) * scale[1]).clamp(-CLIP, CLIP) * self._pair_mask(mask))
        parts.append(((context - shift[2]) * scale[2]).clamp(-CLIP, CLIP))
        return torch.cat([*parts, mask], dim=1)

    def forward(self, X: Tensor) -> Tensor:
        return self.attention(self.prepare(self.inputs(X))).squeeze(-1)  # (n, 1) -> (n,)


class SetAttention(nn.Module):
    """Attention among photons with the masses of their pairs as bias, then a sum over the photons.

    Args:
        roles: The photons' roles.
        pairs: Positions of the photons of each pair whose mass is given.
        sizes: Columns of photons, pairs, context and mask in the input.
        n_context: Columns that describe the candidate; every photon sees them.
        width, heads, layers: As of :class:`PhotonSet`.
    """

    def __init__(
        self,
        roles: Sequence[str],
        pairs: Sequence[tuple[int, int]],
        sizes: Sequence[int],
        n_context: int,
        *,
        width: int,
        heads: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.n_photons = n = len(roles)
        n_variables = sizes[0] // n
        flags = torch.zeros(n, len(set(_FLAG.values())))
        for place, role in enumerate(roles):
            flags[place, _FLAG[role]] = 1.0
        self.flags: Tensor
        self.register_buffer("flags", flags, persistent=False)
        # where a pair's bias stands in the table of photons with photons; its last entry is a photon's own
        table = torch.full((n, n), len(pairs), dtype=torch.long)
        for number, (i, j) in enumerate(pairs):
            table[i, j] = table[j, i] = number
        self.table: Tensor
        self.register_buffer("table", table.flatten(), persistent=False)
        self.has_pairs = bool(pairs)
        self.embed = nn.Linear(n_variables + n_context + flags.shape[1], width)
        self.rounds = nn.ModuleList(_Round(width, heads, with_pairs=self.has_pairs) for _ in range(layers))
        self.read = nn.Sequential(nn.Linear(width + n_context, 2 * width), nn.SiLU(), nn.Linear(2 * width, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        photons, pairs, context, mask = inputs.split(self.sizes, dim=1)
        n, k = self.n_photons, photons.shape[1] // self.n_photons
        photons = photons.unflatten(1, (n, k))
        rows = inputs.shape[0]
        seen = [
            photons,
            context[:, None].expand(rows, n, context.shape[1]),
            self.flags.expand(rows, *self.flags.shape),
        ]
        x = self.embed(torch.cat(seen, dim=2))  # (rows, n, width)
        hidden = (mask - 1)[:, None, :, None] * _HIDDEN  # (rows, 1, n, 1): 0 there, −10⁴ absent
        masses = None
        if self.has_pairs:
            own = torch.zeros_like(mask[:, :1])
            masses = torch.cat([pairs, own], dim=1)[:, self.table].unflatten(1, (n, n))[..., None]
        for attend in self.rounds:
            x = attend(x, masses, hidden)
        total = (x * mask[:, :, None]).sum(dim=1)  # (rows, n, width) -> (rows, width)
        return self.read(torch.cat([total, context], dim=1))


class _Round(nn.Module):
    """One round: every photon looks at all that are there, then at itself."""

    def __init__(self, width: int, heads: int, *, with_pairs: bool) -> None:
        super().__init__()
        self.heads = heads
        self.look = nn.Linear(width, 3 * width)
        self.bias = nn.Linear(1, heads) if with_pairs else None
        self.join = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, masses: Tensor | None, hidden: Tensor) -> Tensor:
        q, k, v = self.look(x).unflatten(2, (3, self.heads, -1)).unbind(2)  # (rows, n, heads, d) each
        # few photons: products written out are faster than thousands of tiny matrix products
        share = (q[:, :, None] * k[:, None]).sum(-1) / q.shape[-1] ** 0.5 + hidden  # (rows, n, n, heads)
        if self.bias is not None and masses is not None:
            share = share + self.bias(masses)
        seen = (share.softmax(dim=2)[..., None] * v[:, None]).sum(2).flatten(2)  # (rows, n, width)
        x = x + self.join(seen)
        return x + self.think(x)


def _filled(values: Tensor, there: Tensor) -> Tensor:
    """Values, and 0.5 in place of what is absent: any number that no transform makes infinite."""
    return torch.where(there, values, torch.full_like(values, 0.5))


assert set(_FLAG) == set(ROLES)
