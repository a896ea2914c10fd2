"""What callbacks, event streams and a real LangSmith client hear of a chain: all but the bytes of pictures."""

import base64
import io
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers import LangChainTracer
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.stdout import ConsoleCallbackHandler
from langsmith import Client
from PIL import Image

from langchain_mmrag._tracing import redact
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.queries import Query
from tests.unit_tests.answering import ShelfRetriever, model, note, picture, pictures

QUESTION = "Where is the red lighthouse?"
LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{200,}")


def noisy(size=(90, 60)):
    """A picture that does not compress to nothing, as an encoded file."""
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


PHOTO = noisy()
DATA_URI = f"data:image/png;base64,{base64.b64encode(PHOTO).decode()}"


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "lighthouse.png").write_bytes(noisy((80, 80)))
    return ShelfRetriever(
        documents=[note("It stands at Cape Ann."), picture(tmp_path / "lighthouse.png", "a lighthouse")]
    )


def dumped(heard):
    """What was heard, as text in which no byte is hidden."""
    return json.dumps(heard, default=_plain).encode()


def _plain(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Image.Image):
        return base64.b64encode(value.tobytes()).decode()
    if isinstance(value, Query):
        return {name: getattr(value, name) for name in ("text", "image", "not_image")}
    return value.model_dump() if hasattr(value, "model_dump") else str(value)


def assert_no_bytes(heard):
    text = heard if isinstance(heard, bytes) else dumped(heard)
    assert LONG_BASE64.search(text) is None
    assert base64.b64encode(PHOTO[:60]) not in text
    assert b"\\u0089PNG" not in text


class Everything(BaseCallbackHandler):
    """Keeps whatever it is told."""

    raise_error = True

    def __init__(self):
        self.heard = []

    def _keep(self, event):
        def keep(*args, **kwargs):
            self.heard.append((event, args, kwargs))

        return keep

    def __getattribute__(self, name):
        return self._keep(name) if name.startswith("on_") else super().__getattribute__(name)

    def events(self):
        return {event for event, _, _ in self.heard}


class AsyncEverything(AsyncCallbackHandler):
    """The same, asynchronously."""

    raise_error = True

    def __init__(self):
        self.heard = []

    async def on_chain_start(self, *args, **kwargs):
        self.heard.append(("on_chain_start", args, kwargs))

    async def on_chat_model_start(self, *args, **kwargs):
        self.heard.append(("on_chat_model_start", args, kwargs))

    async def on_chain_end(self, *args, **kwargs):
        self.heard.append(("on_chain_end", args, kwargs))


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"\xff\xd8\xff" + bytes(48_000), "<image/jpeg, 48 kB>"),
        (bytearray(b"\x89PNG" + bytes(600)), "<image/png, 604 bytes>"),
        (Image.new("RGB", (640, 480)), "<picture, 640x480>"),
        (io.BytesIO(b"x"), "<BytesIO object>"),
        (f"data:image/webp;base64,{'A' * 4000}", "<image/webp, 3 kB>"),
        (f"see ![it](data:image/png;base64,{'A' * 400}) here", "see ![it](<image/png, 300 bytes>) here"),
        ("iVBORw0KGgo" + "A" * 3989, "<image/png, 3 kB>"),
        ("x" * 4000, "<base64, 3 kB>"),
        (
            base64.encodebytes(PHOTO).decode(),
            f"<image/png, {len(base64.encodebytes(PHOTO)) * 3 / 4000:.0f} kB>\n",
        ),
        (
            {"type": "image", "base64": "AAAA", "mime_type": "image/gif"},
            {"type": "image", "base64": "<image/gif, 3 bytes>", "mime_type": "image/gif"},
        ),
        (
            {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            {"type": "base64", "media_type": "image/png", "data": "<image/png, 3 bytes>"},
        ),
        (
            [{"image_url": {"url": DATA_URI}}],
            [{"image_url": {"url": f"<image/png, {len(PHOTO) / 1000:.0f} kB>"}}],
        ),
        ((1, b"abc", "x"), (1, "<bytes, 3 bytes>", "x")),
        (Query(text="this?", image=b"abc"), {"text": "this?", "image": "<bytes, 3 bytes>"}),
    ],
)
def test_bytes_of_pictures_are_told_by_kind_and_size(value, told):
    assert redact(value) == told


@pytest.mark.parametrize(
    "value",
    [
        "Where is the red lighthouse? " * 50,
        "https://example.org/" + "pictures/of-the-coast/" * 8 + "lighthouse.jpg",
        {"type": "text", "data": "nothing to hide", "n": 3},
        [HumanMessage([{"type": "text", "text": "hello"}]), AIMessage("At Cape Ann [1].")],
        [Document("a passage", metadata={"source": "notes.md", "page": 3})],
        Query(text="lighthouse", image="a.png"),
        {1, 2, 3},
        None,
        ValueError("no such model"),
    ],
)
def test_what_holds_no_bytes_is_told_as_it_is(value):
    assert redact(value) is value


def test_messages_and_documents_keep_all_but_the_bytes_and_are_not_changed_themselves():
    message = HumanMessage(
        [{"type": "text", "text": "this?"}, {"type": "image", "base64": "QUJD" * 90}], id="7"
    )
    told = redact({"messages": [[message]]})["messages"][0][0]
    assert told.id == "7"
    assert told.content == [
        {"type": "text", "text": "this?"},
        {"type": "image", "base64": "<base64, 270 bytes>"},
    ]
    assert message.content[1]["base64"] == "QUJD" * 90
    document = Document(base64.b64encode(PHOTO).decode(), metadata={"source": "a.png"})
    told = redact([document])[0]
    assert told.page_content == f"<image/png, {len(PHOTO) / 1000:.0f} kB>"
    assert told.metadata == document.metadata


def test_an_error_that_quotes_a_picture_keeps_its_kind():
    class RejectedError(ValueError):
        def __init__(self, status, message):
            super().__init__(message)
            self.status = status

    error = RejectedError(400, f"cannot read {DATA_URI}")
    told = redact(error)
    assert isinstance(told, RejectedError)
    assert str(told) == f"cannot read <image/png, {len(PHOTO) / 1000:.0f} kB>"
    assert "RejectedError" in repr(told)
    caused = RuntimeError("no answer")
    caused.__cause__ = error
    assert_no_bytes(repr(redact(caused)).encode())
    assert redact(caused) is not caused


# --- handlers --------------------------------------------------------------------------------------------


SPELLINGS = {
    "bytes": {"input": QUESTION, "image": PHOTO},
    "PIL": {"input": QUESTION, "image": Image.open(io.BytesIO(PHOTO))},
    "data-URI": {"input": QUESTION, "image": DATA_URI},
    "Query": Query(text=QUESTION, image=PHOTO),
    "file": {"input": {"text": QUESTION, "image": io.BytesIO(PHOTO)}},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_handler_hears_everything_but_the_bytes_and_the_caller_gets_them(shelf, spelling):
    asked, heard, llm = SPELLINGS[spelling], Everything(), model("At Cape Ann [1].")
    result = create_rag_chain(shelf, llm).invoke(asked, {"callbacks": [heard]})
    expected = {"on_chain_start", "on_chain_end", "on_retriever_start", "on_retriever_end"}
    assert expected | {"on_chat_model_start", "on_llm_end"} <= heard.events()
    assert_no_bytes(heard.heard)
    assert len(pictures(llm.calls[0][-1].content)) == 2
    if isinstance(asked, dict) and spelling != "file":
        assert result["image"] is asked["image"]


async def test_an_async_handler_hears_no_bytes_either(shelf):
    heard = AsyncEverything()
    chain = create_rag_chain(shelf, model("one", "two", "three"))
    await chain.ainvoke(SPELLINGS["bytes"], {"callbacks": [heard]})
    [_ async for _ in chain.astream(SPELLINGS["bytes"], {"callbacks": [heard]})]
    chain.invoke(SPELLINGS["bytes"], {"callbacks": [heard]})
    assert sum(event == "on_chat_model_start" for event, *_ in heard.heard) == 3
    assert_no_bytes(heard.heard)


def test_batches_and_streams_are_heard_without_bytes(shelf):
    heard = Everything()
    chain = create_rag_chain(shelf, model("one", "two", "three")).with_config(callbacks=[heard])
    chain.batch([SPELLINGS["bytes"], SPELLINGS["PIL"]])
    first = next(iter(chain.stream(SPELLINGS["bytes"])))
    assert first["image"] is PHOTO
    assert_no_bytes(heard.heard)


@pytest.mark.parametrize("wrap", [lambda llm: llm, lambda llm: llm.bind(stop=["x"]).with_retry()])
@pytest.mark.parametrize("kept_in", [list, CallbackManager])
def test_callbacks_of_the_models_own_hear_no_bytes_either(shelf, wrap, kept_in):
    heard = Everything()
    llm = model("At Cape Ann [1].", callbacks=kept_in([heard]))
    assert create_rag_chain(shelf, wrap(llm)).invoke(SPELLINGS["bytes"])["answer"] == "At Cape Ann [1]."
    assert "on_chat_model_start" in heard.events()
    assert_no_bytes(heard.heard)
    assert len(pictures(llm.calls[0][-1].content)) == 2


def test_errors_are_heard_without_bytes(shelf):
    def echo(messages):
        msg = f"400: cannot read {messages[-1].content}"
        raise ValueError(msg)

    heard = Everything()
    with pytest.raises(ValueError, match="cannot read") as raised:
        create_rag_chain(shelf, RunnableLambda(echo)).invoke(SPELLINGS["bytes"], {"callbacks": [heard]})
    assert LONG_BASE64.search(str(raised.value).encode())
    assert "on_chain_error" in heard.events()
    assert_no_bytes(heard.heard)


def test_the_console_prints_no_bytes(shelf, capsys):
    chain = create_rag_chain(shelf, model("yes"))
    chain.invoke(SPELLINGS["bytes"], {"callbacks": [ConsoleCallbackHandler()]})
    printed = capsys.readouterr().out
    assert "multimodal_rag_chain" in printed
    assert "image/png" in printed
    assert_no_bytes(printed.encode())


# --- runs ------------------------------------------------------------------------------------------------


def test_runs_inside_another_chain_keep_their_parents_and_are_told_once(shelf):
    collector, heard = RunCollectorCallbackHandler(), Everything()
    inner = create_rag_chain(shelf, model("At Cape Ann [1]."))
    outer = RunnablePassthrough.assign(found=inner).with_config(run_name="outer")
    outer.invoke({"input": QUESTION}, {"callbacks": [collector, heard]})
    (root,) = collector.traced_runs
    assert root.name == "outer"
    names = []

    def walk(run):
        names.append(run.name)
        for child in run.child_runs:
            assert child.parent_run_id == run.id
            walk(child)

    walk(root)
    assert names.count("multimodal_rag_chain") == 1
    assert "retrieve_documents" in names
    assert len(names) == len(set(heard_ids(heard)))


def heard_ids(heard):
    return [kwargs["run_id"] for event, _, kwargs in heard.heard if event.endswith("_start")]


def test_a_chain_called_inside_a_function_is_a_child_of_its_run_and_within_a_chain_of_ours_too(shelf):
    collector = RunCollectorCallbackHandler()
    inner = create_rag_chain(shelf, model("At Cape Ann [1]."))

    def search(question):
        return inner.invoke({"input": question, "image": PHOTO})["context"]

    outer = create_rag_chain(RunnableLambda(search), model("yes"))
    outer.invoke(QUESTION, {"callbacks": [collector]})
    (root,) = collector.traced_runs
    nested = [run for run in _all_runs(root) if run.name == "multimodal_rag_chain"]
    assert len(nested) == 2
    assert nested[1].parent_run_id is not None
    assert_no_bytes([[run.inputs, run.outputs] for run in _all_runs(root)])


def _all_runs(run):
    return [run, *(below for child in run.child_runs for below in _all_runs(child))]


async def test_events_are_told_without_bytes_and_with_tokens(shelf):
    chain = create_rag_chain(shelf, model("At Cape Ann [1].")).with_config(tags=["mine"])
    events = [event async for event in chain.astream_events(SPELLINGS["bytes"], version="v2")]
    assert_no_bytes(events)
    kinds = {event["event"] for event in events}
    assert {"on_chain_start", "on_chain_stream", "on_chain_end", "on_retriever_end"} <= kinds
    tokens = [e["data"]["chunk"].content for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "At Cape Ann [1]."
    assert len(tokens) > 3
    assert events[0]["name"] == "multimodal_rag_chain"
    assert all("mine" in event["tags"] for event in events)
    root = [event for event in events if event["run_id"] == events[0]["run_id"]]
    assert root[-1]["event"] == "on_chain_end"
    assert root[-1]["data"]["output"]["answer"] == "At Cape Ann [1]."
    said = [e["data"]["chunk"].get("answer", "") for e in root if e["event"] == "on_chain_stream"]
    assert "".join(said) == "At Cape Ann [1]."


async def test_events_of_a_chain_around_it_hold_no_bytes_below_its_own_run(shelf):
    chain = create_rag_chain(shelf, model("At Cape Ann [1].")) | RunnableLambda(
        lambda result: result["answer"]
    )
    events = [event async for event in chain.astream_events(SPELLINGS["bytes"], version="v2")]
    (own,) = {e["run_id"] for e in events if e["name"] == "multimodal_rag_chain"}
    below = [event for event in events if own in (event["run_id"], *event["parent_ids"])]
    assert any(event["event"] == "on_chat_model_stream" for event in below)
    assert_no_bytes(below)


@pytest.mark.filterwarnings("ignore:astream_log is deprecated")
async def test_the_log_is_told_without_bytes(shelf):
    chain = create_rag_chain(shelf, model("At Cape Ann [1]."))
    patches = [patch async for patch in chain.astream_log(SPELLINGS["bytes"])]
    assert len(patches) > 5
    assert_no_bytes([patch.ops for patch in patches])
    *_, log = [log async for log in create_rag_chain(shelf, model("Yes.")).astream_log(QUESTION, diff=False)]
    assert log.state["final_output"]["answer"] == "Yes."


# --- LangSmith -------------------------------------------------------------------------------------------


INGEST = json.dumps(
    {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    }
).encode()


@dataclass
class Service:
    """A tracing service on this machine: keeps what is posted."""

    url: str
    bodies: list

    def text(self):
        return b"\n".join(self.bodies)


@pytest.fixture
def service():
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(b'{"version": "0.13.0", "batch_ingest_config": ' + INGEST + b"}")

        def do_POST(self):
            bodies.append(self._body())
            self._answer(b"{}")

        do_PATCH = do_POST  # noqa: N815 - http.server's name

        def _body(self):
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Service(f"http://127.0.0.1:{server.server_port}", bodies)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("switched_on", ["callback", "context"])
def test_what_is_posted_to_a_tracing_service_names_the_runs_and_holds_no_bytes(
    shelf, service, monkeypatch, switched_on
):
    monkeypatch.setenv("LANGSMITH_DISABLE_RUN_COMPRESSION", "true")
    client = Client(api_url=service.url, api_key="none", timeout_ms=5000)
    tracer = LangChainTracer(client=client, project_name="lighthouses")
    config = {"tags": ["by-the-sea"], "metadata": {"session": "cape-ann-7"}, "run_name": "ask_the_coast"}
    chain = create_rag_chain(shelf, model("At Cape Ann [1].")).with_config(**config)
    if switched_on == "callback":
        chain.invoke(SPELLINGS["bytes"], {"callbacks": [tracer]})
    else:
        from langchain_core.tracers.context import tracing_v2_callback_var

        token = tracing_v2_callback_var.set(tracer)
        chain.invoke(SPELLINGS["bytes"])
        tracing_v2_callback_var.reset(token)
    tracer.wait_for_futures()
    client.flush(timeout=20)
    client.cleanup()
    posted = service.text()
    assert_no_bytes(posted)
    for word in (b"ask_the_coast", b"by-the-sea", b"cape-ann-7", b"retrieve_documents", b"lighthouses"):
        assert word in posted
    assert b"At Cape Ann [1]." in posted
    assert b"image/png" in posted
    assert len(posted) < 100_000
