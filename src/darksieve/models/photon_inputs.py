"""What a network sees of a column: transforms of physical units, and their standardisation."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP = 10.0  # standard deviations beyond which an input saturates
_TINY = torch.finfo(torch.float64).tiny
_LEAST = 1e-6  # of 1 - |cos| and of energies (GeV): keeps logarithms finite

TRANSFORMS = {  # of one column into the columns that a network sees
    "identity": lambda x: (x,),
    "log": lambda x: (safe_log(x),),
    "square": lambda x: (x * x,),
    "mass": lambda x: (x, safe_log(x)),
    # With log E these give the logarithms of k = E (1 - cos) and k' = E (1 + cos), where |M|² has its poles.
    "cosine": lambda c: (c, safe_log(1 - c), safe_log(1 + c)),
    "even_cosine": lambda c: (c.abs(), safe_log(1 - c.abs())),
    "even_angle": lambda phi: (phi.cos(), (2 * phi).cos()),
}


def safe_log(x: Tensor) -> Tensor:
    """ln x, of 1e-6 where x is below."""
    return x.clamp(min=_LEAST).log()


def transform_of(feature: str) -> str:
    """Name of the transform that a feature gets; ``identity`` for what is not kinematics of the candidate."""
    if feature in ("M_gg", "M_recoil"):
        return "mass"
    if feature.startswith("cosTheta"):
        return "cosine"
    if feature == "cosHelicity":
        return "even_cosine"  # which photon of the pair is called the first carries no information
    if feature == "phiHelicity":
        return "even_angle"  # parity: the sign of the azimuth carries no information
    if feature in ("E_pair1", "E_pair2"):
        return "log"
    if feature == "E_recoil":
        # |M|² factorises as the recoil becomes soft: the ratio at given angles then no longer depends on its
        # energy, while the logarithm goes on. Trained at 8 GeV and below, the network stays good to 9.8 GeV.
        return "square"
    return "identity"


class Moments:
    """Weighted means and variances of columns, gathered from parts of their rows."""

    def __init__(self) -> None:
        self.total: Tensor | None = None  # sum of weights, (k,)
        self.mean = self.variance = torch.zeros(0)

    def add(self, columns: Tensor, weights: Tensor | None = None) -> None:
        """More rows.

        Args:
            columns: Shape (n, k).
            weights: Shape (n,) or (n, k); 0 leaves a value out.
        """
        wide = columns.double()
        w = torch.ones_like(wide) if weights is None else weights.double().reshape(len(wide), -1)
        total = w.expand_as(wide).sum(0)
        share = w / total.clamp(min=_TINY)
        mean = (share * wide).sum(0)
        variance = (share * (wide - mean) ** 2).sum(0)
        if self.total is None:
            self.total, self.mean, self.variance = total, mean, variance
            return
        both = self.total + total
        new = total / both.clamp(min=_TINY)  # the share of these rows in all
        apart = mean - self.mean
        self.variance = (1 - new) * self.variance + new * variance + new * (1 - new) * apart**2
        self.mean = self.mean + new * apart
        self.total = both

    def shift_and_scale(self) -> tuple[Tensor, Tensor]:
        """Means, and one over the standard deviations (1 for a constant), (k,) each."""
        spread = self.variance.sqrt()
        scale = torch.where(spread > 1e-6 * self.mean.abs().clamp(min=1e-6), 1 / spread, 1.0)
        return self.mean.float(), scale.float()
