"""The search document of one fit of a run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.search_building import build_search_model, with_counts
from darksieve.workflow.categorising import load_choice
from darksieve.workflow.channels import background_choice, uncertainties_of
from darksieve.workflow.context import Context
from darksieve.workflow.fits import Fit
from darksieve.workflow.scan_inputs import ScanInputs
from darksieve.workflow.spurious_sizes import with_measured_sizes


def document_of_fit(
    context: Context,
    fit: Fit,
    inputs: list[ScanInputs],
    masses: NDArray[np.float64],
    counts: Mapping[str, NDArray] | None = None,
) -> SearchModel:
    """The document of a fit at the masses, blind without counts (histograms by channel of the fit)."""
    config = context.config
    pairs = ((given.name, channel) for given in inputs for channel in given.channels)
    channels = with_counts(fit.select(config, pairs), counts)
    model = build_search_model(
        channels,
        masses,
        parameter=config.linear_parameter,
        background=background_choice(config.scan.background),
        uncertainties=uncertainties_of(config),
        vetoes=config.scan.vetoes,
    )
    if config.scan.nuisances.spurious_signal != "measured":
        return model
    return with_measured_sizes(model, load_choice(context)[0])
