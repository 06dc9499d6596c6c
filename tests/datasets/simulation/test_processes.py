"""What the registry says of each process holds, whatever its family."""

import numpy as np
import pytest

from darksieve.datasets.events import Role
from darksieve.datasets.simulation.processes import PROCESSES
from darksieve.datasets.truth import truth_pattern

EACH = pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))


def test_production_numbers_are_unique():
    numbers = [process.production for process in PROCESSES.values()]
    assert len(set(numbers)) == len(numbers)


@EACH
def test_settings_survive_the_sidecar(process):
    settings = process.settings()
    assert process.settings.from_mapping(settings.to_mapping()) == settings
    assert all({"value", "unit", "source"} <= set(entry) for entry in settings.unit_and_source().values())


@EACH
def test_branches_are_known_without_an_event_and_mass_is_truth(process):
    columns = process.no_rows(process.settings())
    assert all(len(values) == 0 and values.dtype.kind in "fiu" for values in columns.values())
    assert {"__experiment__", "__run__", "__event__", "__production__", "__candidate__"} <= set(columns)
    assert (process.mass_branch is not None) == (process.role is Role.SIGNAL)
    if process.mass_branch is not None:
        assert process.mass_branch in columns
        assert truth_pattern(process.mass_branch) is not None
        assert 0 < process.largest_mass(process.settings()) < 12
    if process.weight_branch is not None:
        assert columns[process.weight_branch].dtype == np.float32
