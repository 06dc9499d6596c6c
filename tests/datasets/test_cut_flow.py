"""Cut flows."""

import pytest

from darksieve.datasets.cut_flow import Cut, CutCounter, CutFlow


def test_counter_adds_up_chunks():
    counter = CutCounter("qed", ["rows read", "Mbc > 5.2"])
    for n_read, n_passed in ((100, 40), (50, 0)):
        counter.count("rows read", n_read, n_read)
        counter.count("Mbc > 5.2", n_read, n_passed)
    assert counter.cut_flow == CutFlow("qed", (Cut("rows read", 150, 150), Cut("Mbc > 5.2", 150, 40)))
    assert counter.cut_flow.n_left == 40


def test_flows_of_one_sample_add():
    flow = CutFlow("qed", (Cut("a", 10, 5),))
    assert (flow + flow).cuts == (Cut("a", 20, 10),)
    with pytest.raises(ValueError, match="different steps"):
        flow + CutFlow("qed", (Cut("b", 1, 1),))
    with pytest.raises(ValueError, match="different steps"):
        flow + CutFlow("alp", (Cut("a", 1, 1),))


def test_flow_reads_as_a_table():
    text = str(CutFlow("qed", (Cut("rows read", 10, 10), Cut("Mbc > 5.2", 10, 3))))
    assert text.splitlines()[0] == "cut flow of qed:"
    assert text.splitlines()[2].split() == ["Mbc", ">", "5.2", "10", "->", "3"]
    assert CutFlow("qed", ()).n_left == 0
