"""The search document of one fit of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from darksieve.evaluation.limits.document import SearchModel
from darksieve.evaluation.search_building import ScanChannel, build_search_model, with_counts
from darksieve.workflow.categorising import load_choice
from darksieve.workflow.channels import background_choice, uncertainties_of
from darksieve.workflow.context import Context
from darksieve.workflow.fits import Fit
from darksieve.workflow.scan_inputs import ScanInputs, counting_choice
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
    channels = with_counts(fit.select(config, channels_of(fit, inputs)), counts)
    model = build_search_model(
        channels,
        masses,
        parameter=config.linear_parameter,
        background=background_choice(config.scan.background),
        uncertainties=uncertainties_of(config),
        vetoes=config.scan.vetoes,
        counting=counting_choice(config),
    )
    model = model.model_copy(update={"ctau_cm": fit.ctau_cm})
    if config.scan.nuisances.spurious_signal != "measured":
        return model
    return with_measured_sizes(model, load_choice(context)[0])


def channels_of(fit: Fit, inputs: Sequence[ScanInputs]) -> list[tuple[str, ScanChannel]]:
    """Pairs of the config's channel and one of its categories, with the efficiency that a fit takes."""
    return [(given.name, channel) for given in inputs for channel in given.channels_at(fit.ctau_cm)]
