"""What the limit tool is asked: search documents and workspaces with their patches, read and labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darksieve.errors import InputError, nearest
from darksieve.evaluation.limits.document import FORMAT, Parameter, SearchModel
from darksieve.evaluation.limits.files import read_json
from darksieve.evaluation.limits.patches import is_patch, is_workspace, patched
from darksieve.evaluation.limits.workspace import Workspace

Document = str | Path | Mapping[str, Any] | SearchModel | Workspace


@dataclass(frozen=True)
class Question:
    """One search document or one workspace of a call.

    Attributes:
        name: The file's stem; for a patched workspace stem/patch.
        source: Where it came from, for messages.
        model: What is to be answered.
        labels: Of the points in the answer; for a workspace one.
    """

    name: str
    source: str
    model: SearchModel | Workspace
    labels: tuple[str, ...] = ()

    @property
    def parameter(self) -> Parameter:
        """What the limits are on."""
        if isinstance(self.model, SearchModel):
            return self.model.parameter
        return Parameter(name=self.model.poi_name, unit="1")

    @property
    def blind(self) -> bool:
        """Whether there are no data."""
        return isinstance(self.model, SearchModel) and self.model.blind


def read_questions(
    documents: Sequence[Document], *, interpolation: Mapping[str, str] | None = None
) -> list[Question]:
    """Read all documents of a call; patches apply to the workspace before them, which is then not answered.

    Labels are the document's own. With several documents they are the file's stem where it has one point,
    else stem/label; of a patched workspace always stem/patch.

    Raises:
        InputError: If a document cannot be read, is of no known kind, or two points would share a label.
    """
    questions: list[Question] = []
    workspace: tuple[str, str, Any] | None = None
    n_patches = 0

    def close() -> None:
        if workspace is not None and n_patches == 0:
            name, source, content = workspace
            model = Workspace.parse(content, interpolation=interpolation, source=source)
            questions.append(Question(name, source, model, (name,)))

    for i, document in enumerate(documents):
        name, source = f"document{i + 1}", f"document {i + 1}"
        folder = Path()
        content: Any = document
        if isinstance(document, str | Path):
            name, source, folder = Path(document).stem, str(document), Path(document).parent
            content = read_json(document)
        if is_patch(content):
            if workspace is None:
                raise InputError(f"{source}: a patch without a workspace before it; give WORKSPACE PATCHSET")
            for patch, spec in patched(workspace[2], content, source=source):
                label = f"{workspace[0]}/{patch or name}"
                model = Workspace.parse(
                    spec, interpolation=interpolation, source=f"{source}, patch {patch or name}"
                )
                questions.append(Question(label, source, model, (label,)))
                n_patches += 1
            continue
        close()
        workspace, n_patches = None, 0
        if isinstance(content, SearchModel):
            questions.append(Question(name, source, content))
        elif isinstance(content, Workspace):
            questions.append(Question(name, source, content, (name,)))
        elif is_workspace(content):
            workspace = (name, source, content)
        elif isinstance(content, Mapping) and content.get("format") == FORMAT:
            search = SearchModel.parse(content, source=source).with_files_read(folder, source=source)
            questions.append(Question(name, source, search))
        else:
            raise InputError(f"{source}: {_what_is_it(content)}")
    close()
    if not questions:
        raise InputError("no document to answer; give a search document, or a workspace")
    questions = _labelled(questions)
    _check_together(questions)
    return questions


def _what_is_it(content: Any) -> str:
    known = f"a search document says 'format': '{FORMAT}', a workspace has 'channels' and 'measurements'"
    if not isinstance(content, Mapping):
        return f"neither a search document nor a workspace; {known}"
    if "format" in content:
        return (
            f"format {content['format']!r} is not known{nearest(str(content['format']), [FORMAT])}; {known}"
        )
    return (
        f"neither a search document nor a workspace (keys {', '.join(map(str, list(content)[:6]))}); {known}"
    )


def _labelled(questions: list[Question]) -> list[Question]:
    several = len(questions) > 1
    result = []
    for question in questions:
        if isinstance(question.model, Workspace):
            result.append(question)
            continue
        own = [point.label for point in question.model.points]
        if several:
            own = [question.name] if len(own) == 1 else [f"{question.name}/{label}" for label in own]
        result.append(replace(question, labels=tuple(own)))
    count = Counter(label for question in result for label in question.labels)
    twice = [label for label, n in count.items() if n > 1]
    if twice:
        sources = [question.source for question in result if twice[0] in question.labels]
        raise InputError(f"label {twice[0]!r} would be there twice ({', '.join(sources)}); rename a file")
    return result


def _check_together(questions: Sequence[Question]) -> None:
    first = questions[0]
    for question in questions[1:]:
        if question.parameter.unit != first.parameter.unit:
            raise InputError(
                f"{question.source}: limits on {question.parameter.name} in {question.parameter.unit!r}, but "
                f"{first.source} has {first.parameter.unit!r}; answer them in separate calls"
            )
        if question.blind != first.blind:
            blind = question if question.blind else first
            raise InputError(f"{blind.source} has no data, but others have; answer them in separate calls")


def common_parameter(questions: Sequence[Question]) -> Parameter:
    """The parameter of the answer; where documents name it differently, just ``signal strength``."""
    names = {question.parameter.name for question in questions}
    unit = questions[0].parameter.unit
    return Parameter(name=names.pop() if len(names) == 1 else "signal strength", unit=unit)


def common_lifetime(questions: Sequence[Question]) -> float | None:
    """cτ in cm of what all documents search for; None where they do not say, or differ."""
    found = {
        question.model.ctau_cm if isinstance(question.model, SearchModel) else None for question in questions
    }
    return found.pop() if len(found) == 1 else None
