"""The server as it is run: over standard input and output, over HTTP, and by LangChain's adapter."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import chromadb
import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from langchain_core.messages import ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.memory import create_connected_server_and_client_session as connect
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import cli
from langchain_mmrag._cli.opening import open_collection
from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.errors import MMRAGError
from langchain_mmrag.mcp import create_server, serve_http
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import COLOURS, CountingEmbeddings
from tests.unit_tests.mcp_clients import Waiting, pictures_of, same_pixels, text_of

TOKEN = "opensesame"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": types.LATEST_PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}
BOTH = {"Accept": "application/json, text/event-stream"}


def add(*arguments):
    result = CliRunner().invoke(cli.app, ["index", *map(str, arguments), "--model", "mmrag-tiny"])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures of three things and a note, indexed into two collections by the embedded model."""
    root = tmp_path_factory.mktemp("mcp")
    for thing, place in (("sailboat", "sea"), ("violin", "room"), ("castle", "town")):
        (root / "photos").mkdir(exist_ok=True)
        draw_thing(thing, place=place).save(root / "photos" / f"{thing}.png")
    (root / "notes").mkdir()
    (root / "notes" / "boats.md").write_text("# Boats\nThe sailboat leaves at noon.\n")
    for name in ("photos", "notes"):
        add(root / name, "--store", root / "store", "--collection", name)
    return root


class Client:
    """A session on a thread of its own, so that one server can answer many tests."""

    def __init__(self, portal, session, strange):
        self.portal, self.session, self.strange = portal, session, strange

    def __call__(self, tool, **arguments):
        return self.portal.call(self.session.call_tool, tool, arguments)


@pytest.fixture(scope="module")
def stdio(folder, tmp_path_factory):
    """A client of `mmrag serve-mcp` on the folder; what is wrong on its standard output goes to `strange`."""
    log = tmp_path_factory.mktemp("log") / "stderr"
    strange = []

    async def note(message):
        strange.extend([message] if isinstance(message, Exception) else [])

    @asynccontextmanager
    async def session():
        arguments = ["-m", "langchain_mmrag", "serve-mcp", "--store", str(folder / "store"), "--structured"]
        server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
        with log.open("w") as stderr:
            async with (
                stdio_client(server, stderr) as streams,
                ClientSession(*streams, message_handler=note) as it,
            ):
                await it.initialize()
                yield it

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(session()) as opened:
        yield Client(portal, opened, strange)
    assert "Traceback" not in log.read_text()


# --- standard input and output


def test_the_command_serves_all_collections_of_a_folder(stdio):
    listed = stdio("list_collections").structuredContent["collections"]
    assert [(row["name"], row["modalities"]) for row in listed] == [
        ("notes", {"text": 1}),
        ("photos", {"image": 3}),
    ]
    assert all("mmrag-tiny" in row["embedding"] for row in listed)


def test_a_search_over_stdio_returns_the_picture_as_it_is_in_its_file(stdio, folder):
    result = stdio("search", query="a sailboat", collection="photos", k=1)
    assert not result.isError
    [picture] = pictures_of(result)
    assert same_pixels(picture.data, folder / "photos/sailboat.png")
    [hit] = result.structuredContent["hits"]
    assert hit["source"] == "sailboat.png"
    item = stdio("get_item", id=hit["id"], collection="photos")
    assert "sailboat.png" in text_of(item)
    assert stdio.strange == []


def test_the_adapter_makes_content_blocks_of_langchain(stdio, folder):
    tools = {tool.name: tool for tool in stdio.portal.call(load_mcp_tools, stdio.session)}
    assert set(tools) == {"search", "get_item", "list_collections"}
    arguments = {"query": "a castle", "collection": "photos", "k": 1}
    asked = {"type": "tool_call", "id": "1", "name": "search", "args": arguments}
    message = stdio.portal.call(tools["search"].ainvoke, asked)
    assert isinstance(message, ToolMessage)
    [picture] = [block for block in message.content_blocks if block["type"] == "image"]
    assert picture["mime_type"] == "image/png"
    assert same_pixels(picture["base64"], folder / "photos/castle.png")
    failed = stdio.portal.call(tools["search"].ainvoke, {**asked, "args": {"collection": "photos"}})
    assert failed.status == "error"
    assert "query is empty" in failed.text


def test_what_another_process_adds_while_a_folder_is_served_is_listed_and_breaks_nothing(stdio, folder):
    assert not stdio("search", query="kettle", collection="notes").isError
    (folder / "notes" / "tea.md").write_text("# Tea\nThe kettle is on the stove.\n")
    add(folder / "notes", "--store", folder / "store", "--collection", "notes")
    listed = stdio("list_collections").structuredContent["collections"]
    assert listed[0]["modalities"] == {"text": 2}
    assert not stdio("search", query="kettle", collection="notes").isError  # Chroma finds it when opened anew
    store = open_collection(folder / "store", "notes")
    [added] = store.get(where={"source": str(folder / "notes" / "tea.md")})["ids"]
    assert "kettle" in text_of(stdio("get_item", id=added, collection="notes"))


NOISY = """
import os, subprocess, anyio
from mcp import types
from mcp.server.lowlevel import Server
from langchain_mmrag._mcp.stdio import serve

async def noise(request):
    print("noise by print", flush=True)
    os.write(1, b"noise by a library\\n")
    subprocess.run(["echo", "noise by a child"], check=True)
    return types.ServerResult(types.ListToolsResult(tools=[], nextCursor="x" * 1_000_000))

server = Server("noisy")
server.request_handlers[types.ListToolsRequest] = noise
anyio.run(serve, server)
"""
THE_END = 'print("the end")'


@contextmanager
def noisy_server(after=THE_END):
    command = [sys.executable, "-c", NOISY + after]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            say(process, HELLO)
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "noisy"
            yield process
        finally:
            process.kill()


def say(process, message):
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def test_standard_output_has_nothing_but_the_protocol_and_the_end_of_input_ends_it():
    with noisy_server() as process:
        say(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        say(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        assert json.loads(process.stdout.readline())["id"] == 2
        out, err = process.communicate(b"no json\n", timeout=20)
    assert process.returncode == 0
    lines = out.decode().splitlines()
    assert lines[-1] == "the end"  # when nobody is served any more, it is as it was
    assert all(json.loads(line)["jsonrpc"] for line in lines[:-1])
    for noise in ("by print", "by a library", "by a child"):
        assert f"noise {noise}" in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_while_it_waits_for_its_client(told):
    with noisy_server() as process:
        process.send_signal(told)
        assert process.stdout.read() == b"the end\n"
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_a_signal_ends_a_server_whose_client_no_longer_reads():
    with noisy_server(after="") as process:
        say(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        say(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        assert process.stdout.read(10) == b'{"jsonrpc"'
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_client_that_closes_both_ends_ends_the_server():
    with noisy_server() as process:
        say(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        process.stdout.close()
        say(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        process.stdin.close()
        errors = process.stderr.read().decode()
        process.wait(20)
    assert "ExceptionGroup" not in errors


# --- HTTP


@asynccontextmanager
async def over_http(server, **options):
    """Serve within this process; gives the address."""
    sent, received = anyio.create_memory_object_stream(1)
    async with sent, received, anyio.create_task_group() as tasks:

        async def run():
            await serve_http(server, port=0, on_listening=sent.send_nowait, **options)

        tasks.start_soon(run)
        yield await received.receive()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def session_at(address, **headers):
    async with (
        httpx.AsyncClient(headers=headers) as http,
        streamable_http_client(address, http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        yield session


@pytest.fixture
def colours(tmp_path):
    """A server over a store of pictures in plain colours."""
    store = MultimodalChroma("colours", CountingEmbeddings(show_progress=False))
    for name, value in COLOURS.items():
        Image.new("RGB", (24, 16), value).save(tmp_path / f"{name}.png")
    store.add_images([str(tmp_path / f"{name}.png") for name in COLOURS], ids=list(COLOURS))
    yield create_server(store)
    store.delete_collection()


async def test_clients_are_served_over_http(colours, tmp_path):
    async with over_http(colours) as address:
        assert address.startswith("http://127.0.0.1:")
        async with session_at(address) as first, session_at(address) as second:
            for session in (first, second):
                result = await session.call_tool("search", {"query": "red", "k": 1})
                [picture] = pictures_of(result)
                assert same_pixels(picture.data, tmp_path / "red.png")
            assert (await first.call_tool("get_item", {"id": "nobody"})).isError


async def test_the_adapter_calls_tools_over_http(colours, tmp_path):
    async with over_http(colours, token=TOKEN) as address:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connection = {"transport": "streamable_http", "url": address, "headers": headers}
        tools = await MultiServerMCPClient({"colours": connection}).get_tools()
        search = next(tool for tool in tools if tool.name == "search")
        content = await search.ainvoke({"query": "blue", "k": 1})
    assert [block["type"] for block in content] == ["text", "text", "image", "text"]
    assert same_pixels(content[2]["base64"], tmp_path / "blue.png")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({}, 200),
    ],
)
async def test_pages_of_other_hosts_reach_nothing(colours, headers, status):
    async with over_http(colours) as address, httpx.AsyncClient() as http:
        answer = await http.post(address, json=HELLO, headers={**BOTH, **headers})
        assert answer.status_code == status


async def test_where_there_is_a_token_it_is_asked_for(colours):
    async with over_http(colours, token=TOKEN) as address, httpx.AsyncClient() as http:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = await http.post(address, json=HELLO, headers={**BOTH, **given})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        async with session_at(address, Authorization=f"Bearer {TOKEN}") as session:
            assert len((await session.list_tools()).tools) == 3


async def test_a_client_that_hangs_up_in_the_middle_is_forgotten(colours):
    async with over_http(colours) as address:
        port = httpx.URL(address).port
        body = json.dumps(HELLO).encode()
        head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n"
        for sent in (head.encode() + body[:40], head.encode() + body):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(sent)
            await stream.aclose()
        async with session_at(address) as session:
            assert not (await session.call_tool("search", {"query": "red"})).isError


async def test_a_client_that_goes_away_in_the_middle_of_a_search_leaves_the_others_served():
    embedding = Waiting()
    store = MultimodalChroma("slow", embedding)
    store.add_texts(["red", "green"])
    async with over_http(create_server(store)) as address:
        async with session_at(address) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.call_tool, "search", {"query": "wait"})
            assert await anyio.to_thread.run_sync(embedding.waiting.wait, 10)
            tasks.cancel_scope.cancel()
        async with session_at(address) as session:
            assert not (await session.call_tool("search", {"query": "red"})).isError
            embedding.go_on.set()
            assert not (await session.call_tool("search", {"query": "wait"})).isError
    store.delete_collection()


async def test_addresses_that_cannot_be_served_at_are_told(colours):
    with pytest.raises(MMRAGError, match=r"other machines can reach 0\.0\.0\.0: set a token"):
        await serve_http(colours, host="0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MMRAGError, match=f"cannot listen on 127.0.0.1, port {port}"):
            await serve_http(colours, port=port)


def test_the_command_serves_over_http_until_it_is_told_to_stop(folder):
    command = [sys.executable, "-m", "langchain_mmrag", "serve-mcp", "--store", str(folder / "store")]
    command += ["--collection", "notes", "--http", "--port", "0"]
    environment = {**os.environ, "MMRAG_MCP_TOKEN": TOKEN}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            line = process.stderr.readline().decode()
            address = line.rpartition(" ")[2].strip()
            assert line.startswith("mmrag: serving at http://127.0.0.1:"), line
            headers = {**BOTH, "Authorization": f"Bearer {TOKEN}"}
            assert httpx.post(address, json=HELLO, headers=headers).status_code == 200
            assert httpx.post(address, json=HELLO, headers=BOTH).status_code == 401
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, b"", b"")


# --- the command


async def test_the_options_of_the_command_reach_the_server(folder, monkeypatch):
    served = []

    async def serve(server):
        served.append(server)

    monkeypatch.setattr("langchain_mmrag.mcp.serve_stdio", serve)
    store = ["serve-mcp", "--store", str(folder / "store")]
    given = ["--collection", "notes", "--allow-writes", "--root", str(folder / "photos")]
    for arguments in (store, [*store, *given]):
        result = await anyio.to_thread.run_sync(CliRunner().invoke, cli.app, arguments)
        assert result.exit_code == 0, result.output
    tools = []
    for server in served:
        async with connect(server) as session:
            tools.append({tool.name: tool for tool in (await session.list_tools()).tools})
    assert set(tools[0]) == {"search", "get_item", "list_collections"}
    assert tools[0]["search"].inputSchema["properties"]["collection"]["enum"] == ["notes", "photos"]
    assert set(tools[1]) - set(tools[0]) == {"add_text", "add_image", "delete"}
    assert tools[1]["search"].inputSchema["properties"]["collection"]["enum"] == ["notes"]


def test_of_all_collections_those_of_unknown_models_are_left_out(folder, monkeypatch):
    async def serve(server):
        """The folder is opened before."""

    monkeypatch.setattr("langchain_mmrag.mcp.serve_stdio", serve)
    client = chromadb.PersistentClient(path=str(folder / "store"))
    client.create_collection("of-another-program").add(ids=["1"], embeddings=[[1.0, 2.0]], documents=["x"])
    try:
        result = CliRunner().invoke(cli.app, ["serve-mcp", "--store", str(folder / "store")])
    finally:
        client.delete_collection("of-another-program")
    assert result.exit_code == 0
    assert "not served: collection 'of-another-program'" in result.stderr


def test_a_folder_without_collections_is_told(tmp_path):
    for arguments in (["--store", tmp_path], ["--store", tmp_path, "--collection", "mine"]):
        result = CliRunner().invoke(cli.app, ["serve-mcp", *map(str, arguments)])
        assert result.exit_code == 1
        assert "there is no collection" in str(result.exception)
