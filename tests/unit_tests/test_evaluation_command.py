"""`mmrag eval`, as people call it: on vectors, captions, labelled folders, datasets, logs and the demo."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import cli
from langchain_mmrag.demo.labelled import EXACT, labelled_town
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.errors import DatasetError, MissingDependencyError, MMRAGError, SourceNotFoundError
from langchain_mmrag.evaluation import evaluate, load_dataset, save_dataset
from langchain_mmrag.evaluation.builders.captions import read_captions
from langchain_mmrag.evaluation.builders.protocols import build
from langchain_mmrag.evaluation.command import Outcome
from langchain_mmrag.evaluation.stores import collection_of, retrievers_of

COCO = Path(__file__).parents[3] / "shared" / "data" / "coco500_clip_b16" / "features_clip.npy"


def run(*arguments: object) -> str:
    """What the command prints; it is expected to work."""
    result = CliRunner().invoke(cli.app, ["eval", *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.stdout


def rows(printed: str) -> dict[tuple[str, str], dict[str, str]]:
    """The table of scores, by run and cell."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("| ")
    ]
    header = lines[0]
    return {
        (line[0], line[1]): dict(zip(header, line, strict=True))
        for line in lines[1:]
        if len(line) == len(header)
    }


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> Path:
    """Vectors of 40 pairs with the gap of CLIP: every text is nearer to every text than to any picture."""
    rng = np.random.default_rng(0)
    pairs = np.stack([meaning := rng.normal(size=(40, 32)), meaning + 0.3 * rng.normal(size=(40, 32))])
    pairs /= np.linalg.norm(pairs, axis=-1, keepdims=True)
    pairs[0, :, 0] += 2
    pairs[1, :, 0] -= 2
    path = tmp_path_factory.mktemp("vectors") / "features.npy"
    np.save(path, (pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)).astype(np.float32))
    return path


def test_vectors_give_one_table_with_both_directions(vectors, tmp_path):
    picture = tmp_path / "report.png"
    found = rows(run(vectors, "--compare", "raw,calibrated", "--k", 5, "--plot", picture))
    assert {cell for _, cell in found} >= {"all", "text → image", "image → text"}
    assert found["raw", "text → image"]["queries"] == "20"
    # plain cosine never crosses the gap
    assert found["raw", "text → image"]["recall@5"] == found["raw", "image → text"]["recall@5"] == "0.000"
    assert found["raw", "text → image"]["image in top 5"] == "0%"
    assert found["raw", "image → text"]["image in top 5"] == "100%"
    assert float(found["calibrated", "text → image"]["recall@5"]) > 0.8
    assert float(found["calibrated", "image → text"]["recall@5"]) > 0.8
    with Image.open(picture) as drawn:
        assert drawn.width > 1000


def test_shares_protocols_limits_and_seeds(vectors):
    def told(*arguments):
        return json.loads(run(vectors, "--json", "--k", 5, "--compare", "raw", *arguments))

    assert told("--share", 0.15)["settings"]["documents"] == {"image": 6, "text": 34}
    assert told("--share", 0.85)["settings"]["documents"] == {"image": 34, "text": 6}
    assert told("--limit", 10)["settings"]["documents"] == {"image": 5, "text": 5}
    plain = told("--protocol", "text-to-image")
    assert (plain["queries"], plain["settings"]["documents"]) == (40, {"image": 40})
    scores = [cell["scores"] for cell in plain["runs"]["raw"]["cells"]]
    assert scores[0]["recall@5"]["mean"] > 0.9
    first, again, other = (told("--limit", 10, "--seed", seed) for seed in (1, 1, 2))
    assert first["dataset"] != other["dataset"]
    assert first["runs"]["raw"]["cells"] == again["runs"]["raw"]["cells"]


def test_thresholds_are_measured_with_answers_held_out(vectors):
    told = json.loads(run(vectors, "--json", "--k", 5, "--thresholds", "--protocol", "text-to-image"))
    table = told["thresholds"]["raw"]
    assert (table["related"], table["unrelated"]) == (20, 20)
    alarms = [row["false_positive_rate"] for row in table["rows"]]
    misses = [row["miss_rate"] for row in table["rows"]]
    assert alarms == sorted(alarms, reverse=True)
    assert misses == sorted(misses)
    assert (misses[0] < 0.2, misses[-1]) == (True, 1)
    assert "raw. Thresholds: 20 related" in run(
        vectors, "--k", 5, "--thresholds", "--compare", "raw", "--protocol", "text-to-image"
    )


@pytest.mark.skipif(not COCO.exists(), reason=f"the vectors of 500 COCO pairs are not at {COCO}")
def test_coco_pairs_are_found_across_the_gap_only_when_ranked_fairly():
    found = rows(run(COCO, "--compare", "raw,calibrated", "--limit", 80))
    assert float(found["raw", "text → image"]["recall@10"]) == 0
    assert float(found["raw", "image → text"]["recall@10"]) == 0
    assert float(found["calibrated", "text → image"]["recall@10"]) > 0.7
    assert float(found["calibrated", "image → text"]["recall@10"]) > 0.7


# captions


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """The labelled demo on disk, read from its file, so that writing it is tested too."""
    folder = tmp_path_factory.mktemp("town")
    save_dataset(labelled_town(folder), folder / "town.jsonl")
    return load_dataset(folder / "town.jsonl")


@pytest.fixture(scope="module")
def tiny():
    return OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)


@pytest.fixture
def karpathy(tmp_path, town) -> Path:
    """Three drawings in the format of Karpathy's splits, with five captions each."""
    names = ("octopus", "violin", "owl")
    shown = {document.id: document.image for document in town.documents}
    said = ("a {}", "a picture of a {}", "{}", "a drawing of a {}", "an image of a {}")
    rows = [
        {
            "filename": Path(shown[f"picture: {name} 0"]).name,
            "filepath": "val2014",
            "cocoid": place,
            "split": "test",
            "sentences": [{"raw": text.format(name)} for text in said],
        }
        for place, name in enumerate(names)
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": rows}))
    (tmp_path / "val2014").symlink_to(Path(next(path for path in shown.values() if path)).parent)
    return tmp_path


def test_karpathy_protocols_stand_beside_published_figures(karpathy):
    there = json.loads(
        run(
            karpathy,
            "--model",
            "mmrag-tiny",
            "--json",
            "--k",
            3,
            "--protocol",
            "text-to-image",
            "--compare",
            "raw",
        )
    )
    count = there["settings"]["documents"]["image"]
    assert there["queries"] == 5 * count
    assert there["runs"]["raw"]["cells"][0]["scores"]["success@1"]["mean"] > 0.8  # drawings it was trained on
    assert there["published"][0]["scores"]["success@1"] == 0.393
    back = run(karpathy, "--model", "mmrag-tiny", "--protocol", "image-to-text", "--compare", "raw")
    found = rows(back)
    assert found["raw", "image → text"]["queries"] == str(count)
    # any of the five captions counts, once
    assert float(found["raw", "image → text"]["success@1 [95 %]"].split()[0]) > 0.8
    beside = found["ViT-B-32 laion2b_s34b_b79k", "image → text"]
    assert [beside[f"success@{k}"] for k in (5, 10)] == ["0.798", "0.871"]
    assert beside["queries"] == "published: test split, 5000 pictures"


def test_mixed_captions_ask_in_three_directions(karpathy, tiny):
    dataset = build("drawings", read_captions(karpathy), "mixed", share=0.5, seed=1)
    with collection_of(dataset, tiny) as store:
        report = evaluate(dataset, retrievers_of(store, dataset, k=3, ranks=["raw"]), k=3)
    assert [cell.name for cell in report.runs["raw"].cells] == [
        "all",
        "image → text",
        "text → image",
        "text → text",
    ]
    assert (
        report.score("raw", "recall@3", "text", "text").mean == 1
    )  # "a picture of a owl" finds "a drawing of an owl"


# labelled folders, datasets, logs


@pytest.fixture
def labelled(tmp_path, town) -> Path:
    shown = [document for document in town.documents if document.image]
    for document in shown:
        for name in ("owl", "cat", "violin"):
            if document.id.startswith(f"picture: {name} ") and document.id[-1].isdigit():
                (tmp_path / "animals" / name).mkdir(parents=True, exist_ok=True)
                (tmp_path / "animals" / name / Path(document.image).name).write_bytes(
                    Path(document.image).read_bytes()
                )
    return tmp_path / "animals"


def test_a_labelled_folder_is_measured_in_words_and_leaving_one_out(labelled):
    told = json.loads(
        run(labelled, "--model", "mmrag-tiny", "--json", "--k", 3, "--compare", "raw", "--template", "a {}")
    )
    assert told["settings"]["documents"] == {"image": 9}
    assert told["queries"] == 3 + 9
    cells = {(cell["query"], cell["target"]): cell["scores"] for cell in told["runs"]["raw"]["cells"]}
    assert cells["text", "image"]["success@1"]["mean"] == 1
    assert cells["image", "image"]["recall@3"]["mean"] > 0.9  # itself is not among the three


def test_a_dataset_and_a_log_are_measured(tmp_path, tiny_clip_dir, sample_images):
    model = f"local-dir:{tiny_clip_dir}"
    store = tmp_path / "mm_store"
    notes = tmp_path / "notes"
    notes.mkdir()
    for name in ("boats", "trams", "birds"):
        (notes / f"{name}.md").write_text(f"All about {name} of the town.")
    done = CliRunner().invoke(
        cli.app, ["index", str(notes), str(tmp_path / "images"), "--store", str(store), "--model", model]
    )
    assert done.exit_code == 0, done.output
    log = tmp_path / "log.jsonl"
    log.write_text('{"question": "All about trams of the town.", "sources": ["notes/trams.md"]}\n')
    told = json.loads(run(log, "--store", store, "--json", "--k", 2, "--compare", "raw"))
    assert told["settings"]["documents"] == {"text": 3, "image": 5}
    assert told["runs"]["raw"]["cells"][0]["scores"]["success@1"]["mean"] == 1

    with pytest.raises(DatasetError, match="thresholds need questions that nothing answers"):
        run(log, "--store", store, "--k", 2, "--thresholds")

    own = tmp_path / "own.jsonl"
    own.write_text(
        '{"document": "b", "text": "boats"}\n{"document": "p", "image": "images/red.png"}\n'
        '{"query": "q", "text": "boats", "relevant": ["b"]}\n{"query": "u", "text": "copper", "unrelated": true}\n'
    )
    told = json.loads(run(own, "--model", model, "--json", "--k", 1, "--compare", "raw", "--thresholds"))
    assert [told["thresholds"]["raw"][kind] for kind in ("related", "unrelated")] == [1, 1]
    assert told["runs"]["raw"]["cells"][0]["scores"]["recall@1"]["mean"] == 1

    asked = tmp_path / "asked.jsonl"  # questions alone: to the collection
    asked.write_text('{"query": "q", "text": "boats", "relevant": ["gone"]}\n')
    with pytest.raises(DatasetError, match=r"asked.jsonl:1: query 'q': relevant is 'gone'"):
        run(asked, "--store", store, "--model", model)


# the demo


def test_the_demo_is_the_same_every_time_and_fits_together(town, tmp_path):
    again = labelled_town(tmp_path)
    assert [query.id for query in again.queries] == [query.id for query in town.queries]
    assert {d.id: d.text for d in again.documents} == {d.id: d.text for d in town.documents}
    assert again.relevance == {key: grades for key, grades in town.relevance.items() if grades}
    pairs = zip(again.documents, town.documents, strict=True)
    assert all(Path(a.image).read_bytes() == Path(b.image).read_bytes() for a, b in pairs if a.image)
    many = [query for query in again.related if query.kind in {"text", "image"}]
    assert min(len(again.relevance[query.id]) for query in many) >= 4
    for query in many:
        assert {again.modalities[id_] for id_ in again.relevance[query.id]} == {"image", "text"}
    assert len(again.unrelated) > 40
    assert {query.kind for query in again.related} == {"text", "image", EXACT}


def test_the_embedded_model_finds_its_way_in_the_demo():
    outcome = run("demo", "--compare", "raw,calibrated", "--limit", 60)
    found = rows(outcome)
    assert float(found["calibrated", "text → image"]["recall@10"]) > 0.8
    assert (
        float(found["calibrated", "image → text"]["recall@10"])
        > float(found["raw", "image → text"]["recall@10"]) + 0.1
    )
    assert "calibrated - raw" in outcome


def test_searches_by_words_are_measured_on_the_queries_that_have_some(tmp_path, tiny_clip_dir, sample_images):
    lines = [{"document": name, "text": f"The {name} leaves at noon."} for name in ("ferry", "tram", "bus")]
    lines += [
        {"query": f"about {row['document']}", "text": row["document"], "relevant": [row["document"]]}
        for row in lines
    ]
    lines.append({"query": "picture", "image": "images/red.png", "relevant": ["tram"]})
    data = tmp_path / "own.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    arguments = ("--model", f"local-dir:{tiny_clip_dir}", "--k", 1, "--compare", "calibrated", "--json")
    told = json.loads(run(data, *arguments, "--search", "vector,keyword"))
    assert told["dataset"] == "own, without 1 queries that are pictures alone"
    assert list(told["runs"]) == ["calibrated, vector", "calibrated, keyword"]
    # the model has random weights and knows nothing, words find what they say
    assert told["runs"]["calibrated, keyword"]["cells"][0]["scores"]["success@1"]["mean"] == 1
    assert json.loads(run(data, *arguments))["queries"] == 4
    data.write_text("\n".join(map(json.dumps, [*lines[:3], lines[-1]])))
    with pytest.raises(DatasetError, match="every query is a picture without words: search by vector"):
        run(data, *arguments, "--search", "hybrid")


# what goes wrong


def test_without_the_extra_nothing_is_embedded_for_nothing(monkeypatch, vectors):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    monkeypatch.setattr("langchain_mmrag.evaluation.command.collection_of", None)  # calling it would fail
    with pytest.raises(MissingDependencyError, match=r'pip install "langchain-mmrag\[eval\]"'):
        run(vectors)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere"], SourceNotFoundError, "there is no file or folder nowhere"),
        (
            ["VECTORS", "--k", "99"],
            DatasetError,
            "k is 99, but features, mixed .* has only 40 documents: lower k",
        ),
        (
            ["VECTORS", "--search", "hybrid"],
            DatasetError,
            "captions of ready vectors have no words: search by vector",
        ),
        (["FOLDER"], DatasetError, "no sub-folder holds pictures or text files"),
        (["VECTORS", "--limit", "1"], DatasetError, "needs two captioned pictures or more"),
    ],
)
def test_errors_say_what_to_do(arguments, error, message, vectors, tmp_path):
    named = {"VECTORS": str(vectors), "FOLDER": str(tmp_path)}
    with pytest.raises(error, match=message) as caught:
        run(*(named.get(argument, argument) for argument in arguments))
    assert isinstance(caught.value, MMRAGError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "raw,best"], "'best' is none of raw, rrf, centered, calibrated"),
        (["--compare", ","], "name at least one"),
        (["--search", "fuzzy"], "'fuzzy' is none of vector, hybrid, keyword"),
        (["--template", "a dog"], "needs {} where the label goes"),
        (["--checkpoint", "x"], "name the model too"),
    ],
)
def test_options_are_checked_before_anything_is_read(arguments, message):
    result = CliRunner().invoke(cli.app, ["eval", "nowhere", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_an_outcome_tells_thresholds_with_the_rest(vectors):
    printed = run(vectors, "--k", 5, "--compare", "raw")
    assert "Thresholds" not in printed
    assert json.loads(run(vectors, "--k", 5, "--json"))["thresholds"] == {}
    assert Outcome.__dataclass_fields__.keys() == {"report", "thresholds", "patterns"}
