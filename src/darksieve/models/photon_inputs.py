"""What a network sees of a column: transforms of physical units, and their standardisation."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP = 10.0  # standard deviations beyond which an input saturates
_LEAST = 1e-6  # of 1 - |cos| and of energies (GeV): keeps logarithms finite

TRANSFORMS = {  # of one column into the columns that a network sees
    "identity": lambda x: (x,),
    "log": lambda x: (safe_log(x),),
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
    if feature in ("E_pair1", "E_pair2", "E_recoil"):
        return "log"
    return "identity"


def shift_and_scale(columns: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weighted means, and one over the standard deviations (1 for a constant), of columns (n, k): (k,) each.

    Args:
        weights: Shape (n,) or (n, k); 0 leaves a value out.
    """
    wide = columns.double()
    w = torch.ones_like(wide) if weights is None else weights.double().reshape(len(wide), -1).expand_as(wide)
    w = w / w.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    mean = (w * wide).sum(0)
    spread = (w * (wide - mean) ** 2).sum(0).sqrt()
    scale = torch.where(spread > 1e-6 * mean.abs().clamp(min=1e-6), 1 / spread, 1.0)
    return mean.float(), scale.float()
