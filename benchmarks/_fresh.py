"""What runs in a process of its own: the first answer after its start, and peak memory over many photographs.

    python benchmarks/_fresh.py start WAY FOLDER THREADS STORE
    python benchmarks/_fresh.py memory WAY FOLDER THREADS PATHS

Prints one line of JSON. Imports are within the functions: they are what is measured.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from _measure import peak_memory_mb
from _peers import BASELINE, FP32, OURS
from _weights import MODEL, TAG, Files

COLLECTION = "captions"
QUESTION = "a small dog sitting near the river"
K = 4


def first_answer(way: str, files: Files, threads: int, store: str) -> dict:
    if way == OURS:
        from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings

        clip = OpenCLIPEmbeddings(MODEL, TAG, device="cpu", show_progress=False)
        found = MultimodalChroma(COLLECTION, clip, persist_directory=store).similarity_search(QUESTION, K)
        return {"answer": [document.page_content for document in found]}
    if way == BASELINE:
        from langchain_chroma import Chroma
        from langchain_experimental.open_clip import OpenCLIPEmbeddings as Experimental

        clip = Experimental(model_name=MODEL, checkpoint=TAG)
        found = Chroma(COLLECTION, clip, persist_directory=store).similarity_search(QUESTION, K)
        return {"answer": [document.page_content for document in found]}
    import chromadb

    vectors = FP32[way](files, threads).texts([QUESTION])
    collection = chromadb.PersistentClient(store).get_collection(COLLECTION, embedding_function=None)
    return {"answer": collection.query(query_embeddings=vectors, n_results=K)["documents"][0]}


def peak(way: str, files: Files, threads: int, paths: str) -> dict:
    peer = FP32[way](files, threads)
    vectors = peer.images(Path(paths).read_text().splitlines())
    return {"vectors": len(vectors), "peak_mb": peak_memory_mb()}


def main() -> None:
    task, way, folder, threads, given = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = threads
    files = Files(Path(folder))
    files.in_place_of_downloads()
    if task == "start":
        print(json.dumps(first_answer(way, files, int(threads), given)), flush=True)
    else:
        print(json.dumps(peak(way, files, int(threads), given)), flush=True)


if __name__ == "__main__":
    main()
