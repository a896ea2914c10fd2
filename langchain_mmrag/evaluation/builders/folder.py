"""A folder whose sub-folders are labels: pictures and passages of one label answer each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from langchain_mmrag.document_loaders._walk import LoadFailure, find_files
from langchain_mmrag.document_loaders.kinds import kind_of
from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset

DEFAULT_TEMPLATE: Final = "a photo of a {}"


def read_labelled(
    folder: str | Path,
    *,
    template: str = DEFAULT_TEMPLATE,
    ask_with: Sequence[str] = ("text", "image"),
) -> RetrievalDataset:
    """A dataset of a folder of labelled pictures and passages.

    Args:
        folder: Each sub-folder is a label and holds, at any depth, pictures and text files.
        template: The question in words for a label, with `{}` for its name (`_` and `-` become spaces).
        ask_with: `text` for one question a label, `image` for one a picture: all else of its label answers
            it, and itself it does not find.

    Raises:
        DatasetError: If there are no labelled files, or no question can be asked.
        ValueError: If the template has no `{}`.
    """
    if "{}" not in template:
        msg = f"the template {template!r} needs {{}} where the label goes"
        raise ValueError(msg)
    folder = Path(folder)
    labelled = {label.name: _documents(label, folder) for label in sorted(folder.iterdir()) if label.is_dir()}
    labelled = {label: documents for label, documents in labelled.items() if documents}
    if not labelled:
        msg = (
            f"{folder}: no sub-folder holds pictures or text files: put those of a label into one named by it"
        )
        raise DatasetError(msg)
    queries: list[EvalQuery] = []
    relevance: dict[str, dict[str, int]] = {}
    for label, documents in labelled.items():
        if "text" in ask_with:
            words = label.replace("_", " ").replace("-", " ")
            queries.append(EvalQuery(id=f"label:{label}", text=template.replace("{}", words)))
            relevance[queries[-1].id] = {document.id: 1 for document in documents}
        for asked in documents if "image" in ask_with else ():
            others = {document.id: 1 for document in documents if document.id != asked.id}
            if asked.image is not None and others:
                queries.append(EvalQuery(id=f"image:{asked.id}", image=asked.image, exclude=(asked.id,)))
                relevance[queries[-1].id] = others
    every = [document for documents in labelled.values() for document in documents]
    return RetrievalDataset(folder.absolute().name, queries, every, relevance)


def _documents(label: Path, root: Path) -> list[EvalDocument]:
    documents = []
    for path in find_files(label, on_failure=_refuse):
        kind = kind_of(path)
        id_ = path.absolute().relative_to(root.absolute()).as_posix()
        if kind is None:
            continue
        if kind.modality == "image":
            documents.append(EvalDocument(id=id_, image=str(path.absolute())))
        elif kind.name not in {"text", "Markdown"}:
            continue
        elif text := path.read_text(encoding="utf-8", errors="replace").strip():
            documents.append(EvalDocument(id=id_, text=text, metadata={"source": str(path.absolute())}))
    return documents


def _refuse(failure: LoadFailure) -> None:
    raise failure.error
