"""What is wrong with a search is said by the check, before anything is simulated or read."""

import pytest

from darksieve.config_loading import load_config
from darksieve.errors import InputError
from darksieve.workflow.checks import check_search


@pytest.mark.parametrize("name", ["gamma_alp", "gamma_alp_2020"])
def test_presets_pass(name):
    assert any(line.startswith("scan:") for line in check_search(load_config(name)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scan.range=[0.1, 9.8]", "was simulated from 0.14 to 9.95 GeV"),
        ("samples.signal.settings.mass_range=[1, 2]", "was simulated from 1 to 2 GeV"),
        ("samples.signal.settings={masses: {1.0: 100, 2.0: 100}}", "was simulated from 1 to 2 GeV"),
        ("samples.signal.settings.mass_range=3", r"mass_range: 3; write \[low, high\]"),
        ("samples.signal.settings={masses: 3}", "masses: 3; write {mass: events}"),
        ("classifiers.0.features=[M_gg, fooo]", "simulated.* has no branch 'fooo'"),
        ("candidates.select=ft_chi2 < 3", "did you mean 'fit_chi2'"),
        ("candidates.select=genPair == 1", "known in simulation only"),
        ("scan.observable=genM_a", "scan.observable: 'genM_a' is known in simulation only"),
        ("pseudo_data.simulate=nonsense", "'nonsense' is not a process"),
        ("pseudo_data.settings.foo=1", r"pseudo_data\.settings\.foo: unknown key"),
        ("pseudo_data.inject.mass=20", "outside the scan"),
        ("pseudo_data.inject.mass=0.55", "is vetoed"),
        ("interpolation.spacing=9", "interpolation.spacing is 9 GeV: 1 of its multiples"),
    ],
)
def test_what_would_fail_late_is_refused_at_once(override, message):
    with pytest.raises(InputError, match=message):
        check_search(load_config("gamma_alp", [override]))


def test_interpolation_is_measured_of_networks_on_pairs_alone():
    with pytest.raises(InputError, match="interpolation: no classifier is conditioned on the mass"):
        check_search(load_config("b_to_k_alp", ["interpolation.spacing=1"]))


def test_flat_samples_may_cover_the_scan_together():
    halves = [
        "samples.signal.settings.mass_range=[0.14, 5]",
        "samples.upper={role: signal, simulate: gamma_alp, settings: {n_events: 99, mass_range: [5, 9.95]}}",
    ]
    check_search(load_config("gamma_alp", halves))
