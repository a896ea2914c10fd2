"""What `mmrag demo` does: index Port Merrow with the embedded model, then ask it five kinds of question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer
from langchain_core.documents import Document

from langchain_mmrag._cli import console
from langchain_mmrag._cli.opening import DEFAULT_COLLECTION, collection_metadata, remember_model
from langchain_mmrag._record import EMBEDDING
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.demo.corpus import draw_thing, render_corpus
from langchain_mmrag.display import Section, page_html
from langchain_mmrag.document_loaders import LoaderOptions
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.prompts import NO_MODEL_HINT
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.training.render.charts import KINDS
from langchain_mmrag.training.render.palette import with_article
from langchain_mmrag.vectorstores import MultimodalChroma
from langchain_mmrag.zero_shot import ZeroShotClassifier

HONEST: Final = (
    "This is a small model that only knows these pictures: drawn things, signal cards, charts. "
    "Take ViT-B-32 for photographs."
)
WORDS: Final = ("violin", "a lucky plant", "three red stars", "a pie chart")
PICTURES: Final = (("tram", "snow"), ("doughnut", "meadow"))
_PAGE: Final = "index.html"
QUESTION: Final = "Where is the old anchor?"
YOUR_OWN: Final = """\
from langchain_mmrag import DirectoryLoader, MultimodalChroma, OpenCLIPEmbeddings
clip = OpenCLIPEmbeddings("ViT-B-32")  # fetched once from the Hugging Face hub, about 600 MB
store = MultimodalChroma("mine", clip, persist_directory="./mm_store")
store.add_documents(DirectoryLoader("my_folder").load())
print(store.similarity_search("a dog on a beach"))"""


def run_demo(folder: Path, *, model: str = "mmrag-tiny") -> list[Section]:
    """Draw the corpus into `folder`, index it, ask it, and write a page of what was found.

    Args:
        folder: Takes the pictures, the notes, the index and the page; what is unchanged is not done again.
        model: Model to index and ask with.

    Returns:
        What was asked and found.
    """
    typer.echo(HONEST)
    typer.echo(f"\nDrawing the pictures of Port Merrow into {folder} ...")
    render_corpus(folder)
    clip = OpenCLIPEmbeddings(model, show_progress=False)
    store = _open(folder / "index", clip)
    with console.progress("Indexing") as on_progress:
        report = index_paths(
            store,
            [folder],
            options=LoaderOptions(ocr="off"),  # what is written in these pictures the model knows by sight
            exclude=f"/{_PAGE}",
            on_progress=on_progress,
        )
    remember_model(store)
    typer.echo(f"Indexed: {report.added} files added, {report.updated} updated, {report.skipped} unchanged.")
    sections = [
        *(_ask_words(store, words) for words in WORDS),
        *(_ask_picture(store, thing, place) for thing, place in PICTURES),
        _answer(store),
        _name_charts(clip, folder / "charts"),
    ]
    page = folder / _PAGE
    page.write_text(page_html("Port Merrow, asked", sections, intro=HONEST), encoding="utf-8")
    typer.echo(f"\nAll of this with pictures: {page}")
    typer.echo(f'Ask it yourself: mmrag search "a red apple" --store {folder / "index"}')
    typer.echo(f"\nAnd your own folder, from Python ...\n\n{YOUR_OWN}")
    typer.echo('\n... or: mmrag index my_folder && mmrag ask "your question"')
    return sections


def _open(folder: Path, clip: OpenCLIPEmbeddings) -> MultimodalChroma:
    """The collection of an earlier run, emptied if another model made it."""
    made_with = (collection_metadata(folder, DEFAULT_COLLECTION) or {}).get(EMBEDDING)
    store = MultimodalChroma(DEFAULT_COLLECTION, clip, persist_directory=str(folder))
    if made_with not in {None, clip.fingerprint}:
        store.reset_collection()
    return store


def _ask_words(store: MultimodalChroma, words: str) -> Section:
    hits = store.search_ranked(words, k=4)
    typer.echo(f"\nWords: {words}")
    _print_hits(hits)
    return Section(heading=words, hits=hits, note="words → pictures and passages")


def _ask_picture(store: MultimodalChroma, thing: str, place: str) -> Section:
    image = draw_thing(thing, place=place, seed="asked with")
    named = with_article(thing)
    typer.echo(f"\nPicture: {named}, drawn anew")
    hits = store.search_ranked(Query(image=image), k=4)
    _print_hits(hits)
    return Section(
        heading=f"{named}, drawn anew",
        hits=hits,
        query_image=image,
        note="picture → its passage and look-alikes",
    )


def _answer(store: MultimodalChroma) -> Section:
    chain = create_rag_chain(MultimodalRetriever(store=store, k=4, search="hybrid"))
    result = chain.invoke({"input": QUESTION})
    answer = result["answer"].removesuffix(NO_MODEL_HINT).strip()
    typer.echo(f"\nQuestion: {QUESTION}\n{answer}")
    answer = answer.partition("\n\nSources:")[0]  # on the page they follow as cards
    hits = [(document, None) for document in result["context"]]
    return Section(
        heading=QUESTION, hits=hits, answer=answer, note="question → an answer that quotes its evidence"
    )


def _name_charts(clip: OpenCLIPEmbeddings, folder: Path) -> Section:
    paths = sorted(folder.glob("*.png"))
    best = [next(iter(row.items())) for row in ZeroShotClassifier(clip, KINDS).classify(paths)]
    right = sum(
        path.stem.endswith("_" + kind.replace(" ", "_")) for path, (kind, _) in zip(paths, best, strict=True)
    )
    verdict = f"{right} of {len(paths)} charts named right, out of {len(KINDS)} kinds"
    typer.echo(f"\nZero-shot: {verdict}, for example")
    shown = list(zip(paths, best, strict=True))[::4]
    hits: list[tuple[Document, float | None]] = []
    for path, (kind, share) in shown:
        typer.echo(f"    {kind:14}  {share:4.0%}  {console.short(str(path.absolute()))}")
        metadata = {"modality": "image", "source": str(path.absolute())}
        hits.append((Document(page_content=kind, metadata=metadata), share))
    return Section(
        heading="What kind of chart is this?",
        hits=hits,
        note=f"picture → one of {len(KINDS)} names: {verdict}",
    )


def _print_hits(hits: Sequence[tuple[Document, float | None]]) -> None:
    for rank, hit in enumerate(hits, start=1):
        console.print_hit(rank, *hit)
