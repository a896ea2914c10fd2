"""Words and a text embedding beside the embedded model's vectors, by what is asked.

    python benchmarks/words.py --seeds 1,3,5

The collections are those of `mmrag eval words`; the fusion was chosen on even seeds, and odd ones share no
thing, person, firm or subject with them. `text` is a small embedding made on the spot: latent semantic
analysis of the passages' words and of pieces of their words, so that it knows which words go together, and
misspelt ones.
"""

import argparse
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
from langchain_mmrag.demo.worded import labelled_papers
from langchain_mmrag.evaluation.dataset import RetrievalDataset
from langchain_mmrag.evaluation.metrics import per_query
from langchain_mmrag.evaluation.runner import collect

WAYS = {
    "vector": ("vector", False),
    "keyword": ("keyword", False),
    "hybrid": ("hybrid", False),
    "vector, text": ("vector", True),
    "hybrid, text": ("hybrid", True),
}
MEASURES = ["ndcg@10", "recall@10", "mrr@10"]


class LatentSemantics(Embeddings):
    """Latent semantic analysis (Deerwester et al. 1990) of words and of three and four letters in a row."""

    def __init__(self, texts: list[str], dimension: int = 64) -> None:
        counts = Counter(part for text in texts for part in set(self._parts(text)))
        self._places = {part: place for place, part in enumerate(sorted(counts))}
        self._says = np.log((1 + len(texts)) / np.array([counts[part] for part in self._places]))
        rows = np.array([self._counted(text) for text in texts])
        self._axes = np.linalg.svd(rows, full_matrices=False)[2][:dimension]

    @staticmethod
    def _parts(text: str) -> list[str]:
        words = re.findall(r"\w+", text.lower())
        pieces = [f" {word} "[i : i + n] for word in words for n in (3, 4) for i in range(len(word) + 3 - n)]
        return [*words, *(f"~{piece}" for piece in pieces)]

    def _counted(self, text: str) -> np.ndarray:
        row = np.zeros(len(self._places))
        for part in self._parts(text):
            if part in self._places:
                row[self._places[part]] += 0.5 if part.startswith("~") else 1.0
        row = np.log1p(row) * self._says
        return row / (np.linalg.norm(row) or 1.0)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = self._axes @ self._counted(text)
        # Nothing known in it: as far from everything.
        return (vector if vector.any() else np.full(len(vector), 1e-3)).tolist()


def stored(dataset: RetrievalDataset, clip: OpenCLIPEmbeddings, *, with_text: bool) -> MultimodalChroma:
    passages = [document.text for document in dataset.documents if document.image is None]
    text = LatentSemantics(passages) if with_text else None
    store = MultimodalChroma(f"words-{dataset.name[6:]}-{with_text}", clip, text_embedding=text)
    documents = [document.to_document() for document in dataset.documents]
    store.add_documents(documents, ids=[document.id for document in documents])
    return store


def measured(dataset: RetrievalDataset, store: MultimodalChroma, search: str) -> dict[str, list[list[float]]]:
    """For each kind of query and each query the measures, and the recall of pictures."""
    found = collect(dataset.related, lambda query: store.similarity_search(query, k=10, search=search), 10)
    grades = [dict(dataset.relevance[query.id]) for query in dataset.related]
    columns = per_query(found.ids, grades, MEASURES)
    rows: dict[str, list[list[float]]] = {}
    for place, (query, ids, known) in enumerate(zip(dataset.related, found.ids, grades, strict=True)):
        pictures = {id_ for id_ in known if dataset.modalities[id_] == "image"}
        recall = len(pictures & set(ids)) / len(pictures) if pictures else np.nan
        rows.setdefault(query.kind, []).append([*(columns[name][place] for name in MEASURES), recall])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="1,3,5")
    parser.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    options = parser.parse_args()
    ways = options.ways.split(";")
    clip = OpenCLIPEmbeddings("mmrag-tiny")
    rows: dict[str, dict[str, list[list[float]]]] = {}
    for seed in map(int, options.seeds.split(",")):
        with TemporaryDirectory() as folder:
            dataset = labelled_papers(Path(folder), seed)
            stores = {text: stored(dataset, clip, with_text=text) for text in {WAYS[way][1] for way in ways}}
            for way in ways:
                search, text = WAYS[way]
                for kind, values in measured(dataset, stores[text], search).items():
                    rows.setdefault(kind, {}).setdefault(way, []).extend(values)
    rows["all"] = {way: [row for kind in list(rows.values()) for row in kind[way]] for way in ways}
    print("nDCG@10, recall@10, MRR@10, recall@10 of pictures")
    print(f"{'':25}" + "".join(f"{way:^25}" for way in ways))
    for kind, values in rows.items():
        line = f"{kind:20}{len(values[ways[0]]):5}"
        for way in ways:
            means = [
                np.nan if np.isnan(column).all() else np.nanmean(column) for column in np.array(values[way]).T
            ]
            line += " " + " ".join("    -" if np.isnan(mean) else f"{mean:5.3f}" for mean in means) + " "
        print(line)


if __name__ == "__main__":
    main()
