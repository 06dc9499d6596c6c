"""Truth branches are never features."""

import pytest

from darksieve.datasets.names import root_name
from darksieve.datasets.truth import refuse_truth, truth_pattern
from darksieve.errors import InputError

TRUTH = [
    "isSignal", "isSignalAcceptMissing", "mcPDG", "mcE", "genM_a", "genMotherPDG", "genPair",
    "isContinuumEvent",
    "isNotContinuumEvent", "__event__", "__weight__", "__candidate__", "gamma1_isSignal", "pair1_mcPDG",
    "recoil_genE", "daughter(0, isSignal)", "useCMSFrame(mcE)", "is_true_pair", "matchedMC(mcPDG)",
    "nMCMatches",
    "Bsig_mcErrors", "clusterTotalMCMatchWeight", "genParticle(0, E)", "__MCDecayString__",
]  # fmt: skip
FEATURES = [
    "R2", "thrustOm", "cosTBTO", "KSFWVariables(hso00)", "Mbc", "deltaE", "M_gg", "clusterE1E9",
    "pair1_clusterLAT",
    "CleoConeCS(1)", "useCMSFrame(p)", "significanceOfDistance", "kaonID",
    "E_recoil", "cosHelicity", "chiProb",
    "daughter(0, cosTheta)", "minC2TDist", "roeNeextra(mask)", "momentum_generic",
]  # fmt: skip


@pytest.mark.parametrize("name", TRUTH)
def test_truth_is_recognised_in_both_forms_of_its_name(name):
    assert truth_pattern(name)
    assert truth_pattern(root_name(name))


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_not_taken_for_truth(name):
    assert truth_pattern(name) is None
    assert truth_pattern(root_name(name)) is None


def test_refusal_names_every_offender_and_why():
    with pytest.raises(InputError, match=r"'isSignal' \(matches 'isSignal\*'\).*'gamma1_mcPDG'"):
        refuse_truth(["R2", "isSignal", "gamma1_mcPDG"])


def test_never_features_of_the_user_are_refused_too():
    refuse_truth(["R2", "flav"])
    with pytest.raises(InputError, match="'flav'"):
        refuse_truth(["R2", "flav"], ["sample", "flav"])
    with pytest.raises(InputError, match="'daughter__bo0__cm__spq__bc'"):
        refuse_truth(["daughter__bo0__cm__spq__bc"], ["daughter(0, q)"])
    with pytest.raises(InputError, match="'tag_q'"):
        refuse_truth(["tag_q"], ["tag_*"])


def test_clean_features_pass():
    refuse_truth(FEATURES, ["sample"])
