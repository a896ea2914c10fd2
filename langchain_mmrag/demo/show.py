"""What `mmrag demo` does: index Port Merrow with the embedded model, then ask it five kinds of question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from langchain_core.documents import Document

from langchain_mmrag import _console as console
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.demo.corpus import draw_thing, render_corpus
from langchain_mmrag.display import Section, page_html
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.prompts import NO_MODEL_HINT
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.training.render.charts import KINDS
from langchain_mmrag.training.render.palette import with_article
from langchain_mmrag.vectorstores import MultimodalChroma
from langchain_mmrag.zero_shot import ZeroShotClassifier

Say = Callable[[str], None]

HONEST: Final = (
    "This is a small model that only knows these pictures: drawn things, signal cards, charts. "
    "Take ViT-B-32 for photographs."
)
WORDS: Final = ("sailboat", "a dessert for a birthday", "three red stars", "a pie chart")
PICTURES: Final = (("owl", "meadow"), ("violin", "table"))
QUESTION: Final = "Where is the old anchor?"
YOUR_OWN: Final = """\
from langchain_mmrag import DirectoryLoader, MultimodalChroma, OpenCLIPEmbeddings
clip = OpenCLIPEmbeddings("ViT-B-32")  # fetched once from the Hugging Face hub, about 600 MB
store = MultimodalChroma("mine", clip, persist_directory="./mm_store")
store.add_documents(DirectoryLoader("my_folder").load())
print(store.similarity_search("a dog on a beach"))"""


def run_demo(folder: Path, *, say: Say, model: str = "mmrag-tiny") -> None:
    """Draw the corpus into `folder`, index it, ask it, and write a page of what was found.

    Args:
        folder: Takes the pictures, the notes, the index and the page; what is unchanged is not done again.
        say: Prints a line.
        model: Model to index and ask with.
    """
    say(HONEST)
    say(f"\nDrawing the pictures of Port Merrow into {folder} ...")
    render_corpus(folder)
    clip = OpenCLIPEmbeddings(model, show_progress=False)
    store = MultimodalChroma("demo", clip, persist_directory=str(folder / "index"))
    with console.progress("Indexing") as on_progress:
        report = index_paths(store, [folder], on_progress=on_progress)
    say(f"Indexed: {report.added} files added, {report.updated} updated, {report.skipped} unchanged.")
    sections = [
        *(_ask_words(store, words, say) for words in WORDS),
        *(_ask_picture(store, thing, place, say) for thing, place in PICTURES),
        _answer(store, say),
        _name_charts(clip, folder / "charts", say),
    ]
    page = folder / "index.html"
    page.write_text(page_html("Port Merrow, asked", sections, intro=HONEST), encoding="utf-8")
    say(f"\nAll of this with pictures: {page}")
    say(f"\nAnd your own folder, from Python ...\n\n{YOUR_OWN}")
    say('\n... or: mmrag index my_folder && mmrag ask "your question"')


def _ask_words(store: MultimodalChroma, words: str, say: Say) -> Section:
    hits = store.search_ranked(words, k=4)
    say(f"\nWords: {words}")
    _say_hits(hits)
    return Section(heading=words, hits=hits, note="words → pictures and passages")


def _ask_picture(store: MultimodalChroma, thing: str, place: str, say: Say) -> Section:
    image = draw_thing(thing, place=place, seed="asked with")
    named = with_article(thing)
    say(f"\nPicture: {named}, drawn anew")
    passages = store.search_ranked(Query(image=image), k=1, modality="text")
    alike = store.search_ranked(Query(image=image), k=3, modality="image")
    hits = [*passages, *alike]
    _say_hits(hits)
    return Section(
        heading=f"{named}, drawn anew",
        hits=hits,
        query_image=image,
        note="picture → its passage and look-alikes",
    )


def _answer(store: MultimodalChroma, say: Say) -> Section:
    chain = create_rag_chain(MultimodalRetriever(store=store, k=4))
    result = chain.invoke({"input": QUESTION})
    answer = result["answer"].removesuffix(NO_MODEL_HINT).strip()
    say(f"\nQuestion: {QUESTION}\n{answer}")
    answer = answer.partition("\n\nSources:")[0]  # on the page they follow as cards
    hits = [(document, None) for document in result["context"]]
    return Section(
        heading=QUESTION, hits=hits, answer=answer, note="question → an answer that quotes its evidence"
    )


def _name_charts(clip: OpenCLIPEmbeddings, folder: Path, say: Say) -> Section:
    paths = sorted(folder.glob("*.png"))
    best = [next(iter(row.items())) for row in ZeroShotClassifier(clip, KINDS).classify(paths)]
    right = sum(
        path.stem.endswith("_" + kind.replace(" ", "_")) for path, (kind, _) in zip(paths, best, strict=True)
    )
    verdict = f"{right} of {len(paths)} charts named right, out of {len(KINDS)} kinds"
    say(f"\nZero-shot: {verdict}, for example")
    shown = list(zip(paths, best, strict=True))[::4]
    hits: list[tuple[Document, float | None]] = []
    for path, (kind, share) in shown:
        say(f"    {kind:14}  {share:4.0%}  {console.short(str(path.absolute()))}")
        metadata = {"modality": "image", "source": str(path.absolute())}
        hits.append((Document(page_content=kind, metadata=metadata), share))
    return Section(
        heading="What kind of chart is this?",
        hits=hits,
        note=f"picture → one of {len(KINDS)} names: {verdict}",
    )


def _say_hits(hits: Sequence[tuple[Document, float | None]]) -> None:
    for rank, hit in enumerate(hits, start=1):
        console.print_hit(rank, *hit)
