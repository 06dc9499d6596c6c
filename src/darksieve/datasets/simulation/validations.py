"""The registry of families of processes that validate themselves.

To add a family: write a module with a function that takes the run's simulated samples of the family and a
seed, and returns a ``Validation`` (see ``photons.validation``); then add a :class:`Family` below that imports
it when it is called. The report has a section for every family that a run uses
(docs/simulation-validation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from darksieve.datasets.simulation.validation import SimulatedFile, Validation


@dataclass(frozen=True)
class Family:
    """Processes that are validated together.

    Attributes:
        name: A word.
        processes: Names of the processes.
        validate: Measures the run's samples of these processes, with a seed for standard samples of its own.
    """

    name: str
    processes: tuple[str, ...]
    validate: Callable[[Sequence[SimulatedFile], int], Validation]


def _photons(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    from darksieve.datasets.simulation.photons.validation import validate_photons

    return validate_photons(samples, seed)


def _bfactory(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    from darksieve.datasets.simulation.bfactory.validation import validate_bfactory

    return validate_bfactory(samples, seed)


def _hinv(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    from darksieve.datasets.simulation.hinv.validation import validate_hinv

    return validate_hinv(samples, seed)


def _displaced(samples: Sequence[SimulatedFile], seed: int) -> Validation:
    from darksieve.datasets.simulation.displaced.validation import validate_displaced

    return validate_displaced(samples, seed)


FAMILIES: tuple[Family, ...] = (
    Family(
        "photons",
        (
            "qed_3gamma",
            "gamma_gamma",
            "gamma_eta",
            "gamma_etaprime",
            "gamma_omega",
            "qed_4gamma",
            "ee_gamma",
            "gamma_alp",
        ),
        _photons,
    ),
    Family(
        "bfactory",
        (
            "continuum",
            "b_charged_pairs",
            "b_neutral_pairs",
            "b_to_kplus_alp",
            "b_to_kshort_alp",
            "b_to_kstarplus_alp",
            "b_to_kstarzero_alp",
            "b_to_k_pi0",
            "b_to_k_eta",
            "b_to_k_etaprime",
        ),
        _bfactory,
    ),
    Family(
        "hinv",
        (
            "hinv_pi",
            "hinv_k",
            "hinv_ds",
            "hinv_p",
            "hinv_d0",
            "hinv_continuum",
            "hinv_charged",
            "hinv_neutral",
            "hinv_two_body_charged",
            "hinv_two_body_neutral",
        ),
        _hinv,
    ),
    Family(
        "displaced",
        (
            "dark_higgs_mumu",
            "dark_higgs_pipi",
            "dark_higgs_kk",
            "displaced_kshort",
            "displaced_lambda",
            "displaced_prompt",
            "displaced_b_decay",
        ),
        _displaced,
    ),
)


def validate_samples(samples: Sequence[SimulatedFile], seed: int) -> tuple[Validation, ...]:
    """The validation of every family that has a sample here, in the order of the registry."""
    found = []
    for family in FAMILIES:
        own = [sample for sample in samples if sample.record.process in family.processes]
        if own:
            found.append(family.validate(own, seed))
    return tuple(found)
