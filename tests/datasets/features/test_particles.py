"""Particles of candidates as flat arrays with offsets."""

import awkward as ak
import numpy as np
import pytest

from darksieve.datasets.beams import Beams
from darksieve.datasets.features.particles import Particles
from darksieve.errors import InputError

MOMENTUM = ("px", "py", "pz", "E")


def test_jagged_branches_and_lists_give_the_same_particles():
    lists = {
        "px": [[0.1, 0.2], [], [0.3]],
        "py": [[1.0, 2.0], [], [3.0]],
        "pz": [[0.0, 0.0], [], [0.5]],
        "E": [[2.0, 3.0], [], [4.0]],
        "q": [[1, -1], [], [0]],
    }
    from_lists = Particles.from_jagged(lists, "q", MOMENTUM)
    from_awkward = Particles.from_jagged({k: ak.Array(v) for k, v in lists.items()}, "q", MOMENTUM)
    for made in (from_lists, from_awkward):
        assert len(made) == 3
        np.testing.assert_array_equal(made.offsets, [0, 2, 2, 3])
        np.testing.assert_array_equal(made.momenta[2], [0.3, 3.0, 0.5, 4.0])
        np.testing.assert_array_equal(made.charge, [1, -1, 0])


def test_going_to_the_centre_of_mass_system_takes_the_beams_there():
    beams = Beams.named("belle")
    event = Particles.from_lists([([beams.four_momentum], [0.0])])
    np.testing.assert_allclose(event.in_cms(beams).momenta, [[0, 0, 0, beams.sqrt_s]], atol=1e-12)


@pytest.mark.parametrize(
    ("momenta", "charge", "offsets", "message"),
    [
        (np.zeros((2, 3)), np.zeros(2), [0, 2], r"shape \(2, 3\)"),
        (np.zeros((2, 4)), np.zeros(3), [0, 2], r"it is \(2,\)"),
        (np.zeros((2, 4)), np.zeros(2), [0, 3], "from 0 to 3"),
        (np.zeros((2, 4)), np.zeros(2), [0, 2, 1, 2], "rise from 0"),
        (np.zeros((2, 4)), np.zeros(2), [0.0, 2.0], "whole numbers"),
        (np.array([[0, 0, np.nan, 1.0], [0, 0, 0, 1]]), np.zeros(2), [0, 2], "momenta of 1 of 2"),
        (np.zeros((2, 4)), np.array([0, np.inf]), [0, 2], "charges of 1 of 2 .* position 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(momenta, charge, offsets, message):
    with pytest.raises(InputError, match=message):
        Particles(momenta, charge, np.array(offsets))


def test_jagged_branches_that_do_not_fit_are_refused():
    lists = {name: [[0.1], [0.2]] for name in (*MOMENTUM, "q")}
    with pytest.raises(InputError, match="no branch 'charge'"):
        Particles.from_jagged(lists, "charge", MOMENTUM)
    with pytest.raises(InputError, match="'py' have other lengths than those of 'px'"):
        Particles.from_jagged(lists | {"py": [[0.1, 0.3], [0.2]]}, "q", MOMENTUM)
    with pytest.raises(InputError, match="one list per candidate"):
        Particles.from_jagged(lists | {"E": [1.0, 2.0]}, "q", MOMENTUM)
