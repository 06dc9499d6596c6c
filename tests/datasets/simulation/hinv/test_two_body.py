"""Two-body decays that peak: open, charge-conserving, each once, with fractions and sources."""

import pytest

from darksieve.datasets.simulation.hinv.channels import CHANNELS
from darksieve.datasets.simulation.hinv.two_body import TWO_BODY_DECAYS, two_body_decays

# GeV, PDG 2024 from memory: enough to see that a decay is open
MASSES = {
    111: 0.135, 113: 0.775, 221: 0.548, 223: 0.783, 331: 0.958, 333: 1.019, 311: 0.498, 313: 0.896,
    421: 1.865, 423: 2.007, 441: 2.984, 443: 3.097, 10441: 3.415, 20443: 3.511, 100441: 3.638, 100443: 3.686,
    30443: 3.774, 3122: 1.116, 4112: 2.454,
}  # fmt: skip


@pytest.mark.parametrize("decay", TWO_BODY_DECAYS, ids=lambda decay: f"{decay.channel} {decay.label}")
def test_each_decay_is_open_and_has_a_fraction_with_a_source(decay):
    assert MASSES[abs(decay.pdg)] < CHANNELS[decay.channel].largest_mass
    assert 0 < decay.fraction < 0.01
    assert decay.source


def test_no_decay_is_listed_twice():
    assert len({decay.products for decay in TWO_BODY_DECAYS}) == len(TWO_BODY_DECAYS)


def test_charged_and_neutral_b_share_them_out():
    charged, neutral = two_body_decays(1), two_body_decays(0)
    assert {decay.channel for decay in charged} == {"pi", "k", "ds", "p"}
    assert {decay.channel for decay in neutral} == {"d0"}
    assert len(charged) + len(neutral) == len(TWO_BODY_DECAYS)
    # in 10⁻³: D_s and π with D̄0 or D̄*0 26.98, K with charm or charmonium 5.02, all others 0.28
    assert sum(decay.fraction for decay in charged) == pytest.approx(0.03228, abs=1e-5)
