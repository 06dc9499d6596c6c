"""No test leaves anything in the user's cache, nor finds anything there."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_user():
    before = os.environ.get("DARKSIEVE_CACHE")
    os.environ["DARKSIEVE_CACHE"] = "off"
    yield
    if before is None:
        del os.environ["DARKSIEVE_CACHE"]
    else:
        os.environ["DARKSIEVE_CACHE"] = before
