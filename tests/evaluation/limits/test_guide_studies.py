"""The examples of docs/limits.md on the choice of background, impacts, export and continued scans."""

import re
from pathlib import Path

from darksieve.evaluation.limits.answer import answer_documents
from darksieve.evaluation.limits.curve import LimitCurve
from darksieve.evaluation.limits.document import SearchModel

GUIDE = Path(__file__).parents[3] / "docs" / "limits.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_studies_of_the_guide_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(blocks("json")[0])
    whole = answer_documents(["mine.json"])
    whole.model_copy(update={"points": whole.points[:1], "global_": None}).save("half.json")
    scope = {"answer_documents": answer_documents, "LimitCurve": LimitCurve}
    for code in blocks("python")[1:]:
        exec(compile(code, "limits.md", "exec"), scope)
    assert scope["curve"] == whole
    assert scope["closure"] < 4e-3
    assert scope["impacts"].names == ("efficiency", "width", "scale")
    safer = SearchModel.load("safer.json")
    assert all(point.channels["spectrum"].spurious_signal > 0 for point in safer.points)
    wider = answer_documents([safer]).expected(0)
    assert (wider > whole.expected(0)).all()
    back = answer_documents(
        ["workspace.json", "patchset.json"], method="asymptotic", interpolation="normsys=code1,histosys=code2"
    )
    assert len(back.points) == 2
