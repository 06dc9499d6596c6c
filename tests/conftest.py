"""Tests leave nothing in the user's cache and find nothing there; files that take longest come first."""

import os
from pathlib import Path

import pytest

# Two workers take files in this order, one after the other. They begin with kernels that the other then finds
# compiled, which counts in a fresh clone; then comes what takes longest, so that none waits at the end.
FIRST = (
    "evaluation/limits/test_engine.py",
    "datasets/simulation/bfactory/test_reconstruction.py",
    "evaluation/limits/test_histfactory.py",
    "datasets/simulation/photons/test_measurement.py",
    "evaluation/limits/test_toys.py",
    "datasets/features/test_event_shapes.py",
    "test_gamma_alp_search.py",
    "test_foreign_b_searches.py",
    "test_foreign_search.py",
    "test_kaon_search.py",
    "test_invisible_search.py",
    "evaluation/limits/test_coverage.py",
    "test_tuning.py",
)


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    place = {tests / name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(FIRST)))


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_user():
    before = os.environ.get("DARKSIEVE_CACHE")
    os.environ["DARKSIEVE_CACHE"] = "off"
    yield
    if before is None:
        del os.environ["DARKSIEVE_CACHE"]
    else:
        os.environ["DARKSIEVE_CACHE"] = before
