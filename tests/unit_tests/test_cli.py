"""The command, as people and scripts use it."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from chromadb.errors import InternalError
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import cli, indexing
from langchain_mmrag._cli import console
from langchain_mmrag._cli.asking import Asking
from langchain_mmrag._cli.opening import ModelName, recorded_model
from langchain_mmrag.errors import EmbeddingMismatchError, MMRAGError, StoreError
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import Collapse, Rank, SearchMode
from tests.conftest import save_clip


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Path:
    """A folder of two pictures and a note, and beside it an empty place for the store."""
    root = tmp_path_factory.mktemp("cli") / "town"
    root.mkdir()
    for color in ("red", "blue"):
        Image.new("RGB", (40, 30), color).save(root / f"{color}.png")
    (root / "boats.md").write_text("# Boats\nThe red ferry leaves at noon.\n")
    return root


@pytest.fixture(scope="module")
def model(tiny_clip_dir) -> str:
    return f"local-dir:{tiny_clip_dir}"


@pytest.fixture(scope="module")
def store(town, model) -> str:
    """A store the town is indexed in."""
    folder = str(town.parent / "mm_store")
    result = CliRunner().invoke(cli.app, ["index", str(town), "--store", folder, "--model", model])
    assert result.exit_code == 0, result.output
    return folder


def run(*arguments: str) -> "object":
    """Run a command that is expected to work; returns its result."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_main(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Exit status and stderr of the command as it is started from a shell."""
    monkeypatch.setattr(sys, "argv", ["mmrag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0, capsys.readouterr().err


# help


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['mmrag', 'index', '--help']\n"
        "from langchain_mmrag.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'chromadb', 'open_clip', 'langchain_core', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Index files and folders" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_every_command_has_help():
    listed = run("--help").output
    for command in ("demo", "index", "search", "ask", "classify"):
        assert command in listed
        assert run(command, "--help").exit_code == 0


# index


def test_index_says_what_it_did_and_skips_what_is_unchanged(tmp_path, town, model):
    store = tmp_path / "s"
    first = run("index", town, "--store", store, "--model", model)
    assert f"{store}: 3 added, 0 updated, 0 skipped, 0 deleted, 0 failed" in first.stdout
    again = run("index", town, "--store", store)
    assert "0 added, 0 updated, 3 skipped, 0 deleted, 0 failed" in again.stdout


def test_index_prints_json(tmp_path, town, model):
    (tmp_path / "bad.png").write_text("no picture")
    result = run("index", town, tmp_path / "bad.png", "--store", tmp_path / "s", "--model", model, "--json")
    row = json.loads(result.stdout)
    assert (row["added"], row["skipped"], row["ignored"]) == (3, 0, {})
    assert [failure["source"] for failure in row["failed"]] == [str(tmp_path / "bad.png")]


def test_index_reports_bad_files_and_still_succeeds_where_some_could_be_read(tmp_path, model):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "data.bin").write_bytes(b"\0")
    result = run("index", tmp_path, "--store", tmp_path / "s", "--model", model)
    assert result.exit_code == 0
    assert "1 added" in result.stdout
    assert "1 failed" in result.stdout
    assert "other kinds: .bin 1" in result.stdout
    assert "bad.png" in result.stderr


def test_index_fails_where_nothing_could_be_read(tmp_path, model):
    (tmp_path / "empty").mkdir()
    result = run("index", tmp_path / "empty", "--store", tmp_path / "s", "--model", model)
    assert result.exit_code == 1
    assert "nothing could be read" in result.stderr


def test_index_of_a_folder_that_is_not_there_makes_nothing(tmp_path, monkeypatch, capsys):
    code, stderr = run_main(monkeypatch, capsys, "index", tmp_path / "none", "--store", tmp_path / "s")
    assert (code, stderr) == (1, f"mmrag: there is no file or folder {tmp_path / 'none'}\n")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("at", ["indexing.index_paths", "_cli.indexing.open_collection"])
def test_an_interrupted_index_says_how_to_go_on(tmp_path, town, model, monkeypatch, at):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"langchain_mmrag.{at}", interrupt)
    result = run("index", town, "--store", tmp_path / "s", "--model", model)
    assert result.exit_code == 130
    assert "what is indexed stays, and the same command goes on from here" in result.stderr


# search


def test_search_shows_rank_score_kind_place_and_text(store, town, monkeypatch):
    monkeypatch.chdir(town.parent)
    lines = run("search", "ferry", "--store", store, "-k", "3").stdout.splitlines()
    hits = [line for line in lines if line[:2].strip().isdigit()]
    assert len(hits) == 3
    assert sorted(line.split()[2] for line in hits) == ["passage", "picture", "picture"]
    assert sorted(line.split()[3] for line in hits) == ["town/blue.png", "town/boats.md", "town/red.png"]
    assert "Boats: The red ferry leaves at noon." in "\n".join(lines)


def test_search_by_picture_finds_the_picture_itself(store, town):
    result = run(
        "search", "--image", town / "red.png", "--modality", "image", "-k", "1", "--store", store, "--json"
    )
    (hit,) = json.loads(result.stdout)["hits"]
    assert hit["source"] == str(town / "red.png")
    assert hit["modality"] == "image"
    assert isinstance(hit["score"], float)


def test_search_uses_the_model_the_collection_was_made_with(store):
    assert run("search", "ferry", "--store", store).exit_code == 0


def test_search_writes_a_page(store, tmp_path):
    page = tmp_path / "hits.html"
    result = run("search", "ferry", "--store", store, "--html", page)
    assert str(page) in result.stderr
    html = page.read_text()
    assert html.count('<img src="data:image/') == 2
    assert "The red ferry leaves at noon." in html


@pytest.mark.parametrize("command", ["search", "ask"])
def test_a_search_by_words_finds_only_what_has_them(store, command):
    found = json.loads(run(command, "noon", "--search", "keyword", "--store", store, "--json").stdout)
    assert [Path(hit["source"]).name for hit in found["hits"]] == ["boats.md"]


@pytest.mark.parametrize("rank", get_args(Rank))
def test_every_way_to_rank_finds_the_same_in_its_order(store, rank):
    hits = json.loads(run("search", "ferry", "--rank", rank, "--store", store, "--json").stdout)["hits"]
    assert sorted(Path(hit["source"]).name for hit in hits) == ["blue.png", "boats.md", "red.png"]


def test_only_hits_above_the_threshold_are_shown(store):
    strict = ("--threshold", "1", "--store", store)
    assert run("search", "snow", *strict).stdout == "Nothing was found.\n"
    assert "nothing" in run("ask", "snow", *strict).stdout.lower()
    assert "The red ferry" in run("search", "ferry", *strict).stdout  # there by its letters, for certain


def test_copies_may_count_as_one(tmp_path, town, model):
    (tmp_path / "town").mkdir()
    for name in ("red", "again"):
        shutil.copy(town / "red.png", tmp_path / "town" / f"{name}.png")
    run("index", tmp_path / "town", "--store", tmp_path / "s", "--model", model)
    arguments = ("search", "red", "--store", tmp_path / "s")
    assert len(json.loads(run(*arguments, "--json").stdout)["hits"]) == 2
    shown = run(*arguments, "--collapse", "near-duplicate").stdout
    assert shown.count("picture") == 1
    assert "+ 1 copy:" in shown
    assert {"red.png", "again.png"} == {Path(word).name for word in shown.split() if word.endswith(".png")}


def test_what_is_not_wanted_moves_down(store, town):
    images = ("search", "--modality", "image", "--store", store, "--json", "--image", town / "red.png")
    weighted = run(*images, "--not-image", town / "blue.png", "--weight", "not-image=0.9").stdout
    hits = json.loads(weighted)["hits"]
    assert [Path(hit["source"]).name for hit in hits] == ["red.png", "blue.png"]
    reverse = run(*images, "--not-image", town / "red.png")
    assert reverse.exit_code == 2


def test_what_is_asked_becomes_a_query_and_options():
    asking = Asking(
        image="a.png",
        not_text="fog",
        not_image="b.png",
        weights=["not=0.2", "not-image = 2", "text=1"],
        modality="image",
        k=3,
        search="hybrid",
        rank="rrf",
        threshold=0.0,
        collapse="near-duplicate",
    )
    weights = {"not_text": 0.2, "not_image": 2, "text": 1}
    parts = {"image": "a.png", "not_text": "fog", "not_image": "b.png", "weights": weights}
    assert asking.query("ships") == Query(text="ships", modality="image", **parts)
    assert asking.row("ships", name="question") == {"question": "ships", **parts}
    options = {"search": "hybrid", "rank": "rrf", "score_threshold": 0.0, "collapse": "near-duplicate"}
    assert asking.options() == {"k": 3, **options}
    assert Asking().options() == {"k": 6, "search": "hybrid"}


@pytest.mark.parametrize(
    ("option", "kinds"), [("rank", Rank), ("search", SearchMode), ("collapse", Collapse)]
)
def test_the_command_offers_every_way_to_search(option, kinds):
    offered = get_args(get_type_hints(Asking, include_extras=True)[option])[0]
    literal = next((part for part in get_args(offered) if get_origin(part) is Literal), offered)
    assert get_args(literal) == get_args(kinds)


@pytest.mark.parametrize("command", ["search", "ask"])
def test_search_and_ask_share_their_options(command):
    shown = run(command, "--help").output
    for option in (
        "--image",
        "--not",
        "--not-image",
        "--weight",
        "--rank",
        "--search",
        "--threshold",
        "--collapse",
    ):
        assert option in shown


def test_a_hit_shows_the_part_that_was_found_and_where_its_copies_are(capsys):
    copies = [Document("", metadata={"source": name}) for name in ("a.md", "b\x1b.md", "b\x1b.md")]
    metadata = {"source": "long.md", "chunk": "The ferry\nleaves at noon.", "chunk_start": 90}
    console.print_hit(
        1, Document("Boats. " * 20, metadata={**metadata, "collapsed_ids": ["a", "b", "c"]}), 3.2, copies
    )
    console.print_hit(2, Document("Boats.", metadata={"collapsed_ids": ["a"], "chunk": 2}), 3)
    shown = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in shown if not line[:2].strip()] == [
        "… The ferry leaves at noon.",
        "+ 3 copies: a.md, b\N{REPLACEMENT CHARACTER}.md",
        "Boats.",
        "+ 1 copy",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], "give words to look for"),
        (["search", " "], "give words to look for"),
        (["ask"], "give words to look for"),
        (["search", "x", "-k", "0"], "-k"),
        (["search", "x", "--modality", "smell"], "smell"),
        (["search", "x", "--checkpoint", "y"], "name the model too"),
        (["search", "--not", "x"], "give words to look for"),
        (["ask", "x", "--not", "X"], "wanted and not wanted"),
        (["search", "x", "--not", ""], "not_text of a Query is blank"),
        (["search", "--image", "a.png", "--not-image", "./a.png"], "wanted and not wanted"),
        (["search", "x", "--weight", "text"], "'text' has no number: write it as in text=0.5"),
        (["ask", "x", "--weight", "words=1"], "names no part: use one of text, image, not, not-image"),
        (["search", "x", "--weight", "text=0"], "give a number above 0"),
        (["search", "x", "--weight", "not=1"], "a weight but nothing for not_text"),
        (["search", "x", "--threshold", "1.5"], "--threshold"),
        (["search", "x", "--rank", "best"], "--rank"),
        (["classify", "x.png", "--labels", "one"], "two labels or more"),
        (["classify", "x.png", "--labels", "a,b", "--template", "a photo"], "needs {}"),
        (["fly"], "No such command"),
    ],
)
def test_misuse_is_explained_and_exits_with_two(arguments, says):
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_in_files_does_not_steer_the_terminal(tmp_path, model):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b\x1b[31m\n.md").write_text("red \x1b[2J\x07 text")
    run("index", tmp_path / "a", "--store", tmp_path / "s", "--model", model)
    for command in ("search", "ask"):
        shown = run(command, "red", "--store", tmp_path / "s").stdout
        assert "text" in shown
        assert "\x1b" not in shown
        assert "\x07" not in shown


# ask


def test_ask_without_a_model_quotes_the_evidence(store):
    result = run("ask", "When does the ferry leave?", "--store", store)
    assert "The red ferry leaves at noon." in result.stdout
    assert "[1]" in result.stdout
    assert "--llm" in result.stdout


def test_ask_prints_json(store):
    row = json.loads(run("ask", "When does the ferry leave?", "--store", store, "--json").stdout)
    assert row["question"] == "When does the ferry leave?"
    assert "The red ferry leaves at noon." in row["answer"]
    assert len(row["hits"]) == 3
    scores = [hit["score"] for hit in row["hits"]]
    assert scores == sorted(scores, reverse=True)
    found = json.loads(run("search", "When does the ferry leave?", "--store", store, "--json").stdout)
    assert row["hits"] == found["hits"]


def test_ask_with_a_picture_and_a_page(store, town, tmp_path):
    page = tmp_path / "answer.html"
    result = run("ask", "What is this?", "--image", town / "red.png", "--store", store, "--html", page)
    assert result.exit_code == 0
    assert "What is this?" in page.read_text()


def test_ask_hands_the_evidence_to_a_chat_model(store, monkeypatch):
    asked = []

    def init_chat_model(name):
        asked.append(name)
        return FakeListChatModel(responses=["At noon [1]."])

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)
    result = run("ask", "When does the ferry leave?", "--llm", "openai:any", "--store", store)
    assert asked == ["openai:any"]
    assert result.stdout.startswith("At noon [1].\n")
    assert "Sources:\n[1] " in result.stdout


def answering(monkeypatch, *responses):
    def init_chat_model(_name):
        return FakeListChatModel(responses=list(responses))

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_chat_model)


def test_each_source_an_answer_cites_is_shown_once_with_its_link(store, monkeypatch):
    answering(monkeypatch, "At noon [1], at noon [1][2], at noon [9].")
    asked = ("ask", "When does the ferry leave?", "--llm", "openai:any", "--store", store)
    result = run(*asked)
    answer, sources = result.stdout.split("\n\nSources:\n")
    assert answer == "At noon [1], at noon [1][2], at noon."
    lines = sources.splitlines()
    assert len(lines) == 2
    assert [line.split()[0] for line in lines] == ["[1]", "[2]"]
    assert all("file:///" in line for line in lines)
    assert "nothing has these numbers: [9]" in result.stderr
    row = json.loads(run(*asked, "--json").stdout)
    assert [citation["number"] for citation in row["citations"]] == [1, 2]
    assert row["removed_citations"] == ["[9]"]


def test_an_answer_that_cites_nothing_is_said_to(store, monkeypatch):
    answering(monkeypatch, "At noon.")
    result = run("ask", "When does the ferry leave?", "--llm", "openai:any", "--store", store)
    assert result.stdout == "At noon.\n\nThe answer cites no source.\n"


def test_a_chat_model_that_breaks_off_leaves_what_it_said_and_one_line(store, monkeypatch, capsys):
    class Breaking(FakeListChatModel):
        def _stream(self, *arguments, **options):
            yield from super()._stream(*arguments, **options)
            msg = "500: overloaded,\ntry again"
            raise RuntimeError(msg)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda _name: Breaking(responses=["At no"]))
    monkeypatch.setattr(sys, "argv", ["mmrag", "ask", "red", "--llm", "openai:any", "--store", str(store)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert stopped.value.code == 1
    assert printed.out == "At no\n"
    assert printed.err == "mmrag: openai:any broke off: RuntimeError: 500: overloaded, try again\n"


def test_a_chat_model_may_be_shown_no_pictures(store, monkeypatch):
    seen = []

    class Seeing(FakeListChatModel):
        def _call(self, messages, *arguments, **options):
            seen.append(messages)
            return super()._call(messages, *arguments, **options)

        def _stream(self, messages, *arguments, **options):
            seen.append(messages)
            yield from super()._stream(messages, *arguments, **options)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda _name: Seeing(responses=["Red."]))
    for options in ([], ["--text-only"]):
        run("ask", "red", "--llm", "openai:any", "--store", store, *options)
    assert [isinstance(messages[-1].content, str) for messages in seen] == [False, True]


def test_a_chat_model_nobody_knows_is_one_line(store, monkeypatch, capsys):
    code, stderr = run_main(monkeypatch, capsys, "ask", "x", "--llm", "nobody:x", "--store", store)
    assert code == 1
    assert stderr.startswith("mmrag: cannot use --llm nobody:x: ")
    assert stderr.count("\n") == 1


def test_a_chat_model_that_fails_is_one_line(store, monkeypatch, capsys):
    class Failing(FakeListChatModel):
        def _stream(self, *_arguments, **_options):
            msg = "400: no\npictures, please"
            raise RuntimeError(msg)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda _name: Failing(responses=["x"]))
    code, stderr = run_main(monkeypatch, capsys, "ask", "x", "--llm", "openai:any", "--store", store)
    assert code == 1
    assert stderr.startswith(
        "mmrag: openai:any did not answer: RuntimeError: 400: no pictures, please. There were"
    )
    assert stderr.endswith(" give it text alone: mmrag ask --text-only.\n")
    assert stderr.count("\n") == 1


# classify


def test_classify_names_the_likeliest_label_of_each_picture(town, model):
    arguments = ("classify", town, "--labels", "a red field, a blue field", "--model", model)
    rows = json.loads(run(*arguments, "--json").stdout)["images"]
    assert [Path(row["source"]).name for row in rows] == ["blue.png", "red.png"]
    for row in rows:
        assert set(row["scores"]) == {"a red field", "a blue field"}
        assert sum(row["scores"].values()) == pytest.approx(1)
    best = max(rows[0]["scores"], key=rows[0]["scores"].get)
    assert run(*arguments).stdout.splitlines()[0].startswith(best)


def test_classify_reports_what_is_no_picture(town, model, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    address = "http://127.0.0.1:9/x.png"
    result = run("classify", tmp_path / "bad.png", address, "--labels", "a,b", "--model", model)
    assert result.exit_code == 1
    assert "bad.png" in result.stderr
    assert address in result.stderr


# errors


def test_a_store_that_is_not_there_is_one_line_and_is_not_made(tmp_path, monkeypatch, capsys):
    code, stderr = run_main(monkeypatch, capsys, "search", "x", "--store", tmp_path / "none")
    assert code == 1
    assert stderr.startswith("mmrag: there is no collection 'langchain' in ")
    assert "mmrag index PATHS" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_collection_that_is_not_there_is_refused(store):
    with pytest.raises(StoreError, match="no collection 'other'"):
        run("search", "x", "--store", store, "--collection", "other")


def test_a_collection_name_chroma_does_not_take_is_one_line(store, monkeypatch, capsys):
    code, stderr = run_main(monkeypatch, capsys, "search", "x", "--store", store, "--collection", "?")
    assert code == 1
    assert stderr.startswith("mmrag: ")
    assert stderr.count("\n") == 1


def test_a_store_that_cannot_be_made_is_one_line(town, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    store = tmp_path / "file" / "store"
    code, stderr = run_main(monkeypatch, capsys, "index", town, "--store", store, "--model", model)
    assert code == 1
    assert stderr.count("\n") == 1


def test_a_warning_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(cli, "app", lambda: None)
    cli.main()
    line = warnings.formatwarning(
        UserWarning("half of it\nis cut"), UserWarning, "module.py", 7, line="x = 1"
    )
    assert line == "mmrag: half of it is cut\n"


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmrag", "search", "x"])
    monkeypatch.setattr(cli, "open_collection", lambda *_arguments, **_options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_another_model_than_the_collections_is_refused(store, tmp_path):
    other = save_clip(tmp_path / "other", seed=1)
    with pytest.raises(EmbeddingMismatchError):
        run("search", "x", "--store", store, "--model", f"local-dir:{other}")


def test_an_unknown_model_is_one_line(store, town, tmp_path, monkeypatch, capsys):
    store = tmp_path / "s"
    code, stderr = run_main(monkeypatch, capsys, "index", town, "--store", store, "--model", "ViT-Z-99")
    assert code == 1
    assert "ViT-Z-99" in stderr
    assert stderr.count("\n") == 1
    assert not store.exists()


def test_a_failed_first_index_does_not_tie_the_collection_to_its_model(tmp_path, town, model):
    (tmp_path / "empty").mkdir()
    run("index", tmp_path / "empty", "--store", tmp_path / "s", "--model", model)
    other = f"local-dir:{save_clip(tmp_path / 'other', seed=1)}"
    assert run("index", town, "--store", tmp_path / "s", "--model", other).exit_code == 0
    assert run("search", "ferry", "--store", tmp_path / "s").exit_code == 0


def test_a_collection_made_in_python_is_opened_by_its_fingerprint():
    fingerprint = "open_clip:ViT-B-32:laion2b_s34b_b79k:512:abc"
    assert recorded_model({"mmrag:embedding": fingerprint}) == ModelName("ViT-B-32", "laion2b_s34b_b79k")
    assert recorded_model({"mmrag:embedding": "open_clip:mmrag-tiny:sha256-ab:192:cd"}) == ModelName(
        "mmrag-tiny"
    )
    assert recorded_model({"mmrag:embedding": "counting:v1"}) is None


def test_a_page_that_cannot_be_written_is_an_error(store, tmp_path):
    with pytest.raises(MMRAGError, match="cannot write"):
        run("search", "ferry", "--store", store, "--html", tmp_path / "no" / "folder" / "hits.html")


def test_a_picture_to_ask_with_that_is_missing_is_an_error(store):
    with pytest.raises(MMRAGError, match=r"gone\.png"):
        run("search", "--image", "gone.png", "--store", store)


def test_a_search_by_words_needs_words(store, town):
    arguments = ("--image", town / "red.png", "--search", "keyword", "--store", store)
    refused = run("search", *arguments)
    assert refused.exit_code == 2
    assert "a search by words needs words" in " ".join(refused.output.split())


@pytest.mark.parametrize("llm", ["gpt", "openai:", ":gpt"])
def test_a_chat_model_is_named_with_its_provider(store, llm):
    with pytest.raises(MMRAGError, match="write PROVIDER:MODEL, such as openai:gpt"):
        run("ask", "Where?", "--store", store, "--llm", llm)


def test_a_chat_model_without_a_key_is_an_error_of_one_line(store, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MMRAGError, match=r"(?s)cannot use --llm openai:x: .*api_key"):
        run("ask", "Where?", "--store", store, "--llm", "openai:x")


def test_text_only_is_of_a_chat_model(store):
    refused = run("ask", "Where?", "--store", store, "--text-only")
    assert refused.exit_code == 2
    assert "it says what a chat model is shown" in " ".join(refused.output.split())


def test_a_full_disk_is_told_with_the_place_of_the_store(town, model, tmp_path, monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise InternalError("error returned from database: (code: 778) disk I/O error")

    monkeypatch.setattr(indexing, "index_paths", fail)
    status, told = run_main(
        monkeypatch, capsys, "index", town, "--store", tmp_path / "store", "--model", model
    )
    assert status == 1
    assert f"cannot write to the store {tmp_path / 'store'}: is the disk full?" in told
