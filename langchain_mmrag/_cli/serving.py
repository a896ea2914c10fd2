"""`mmrag serve-mcp`: the collections of a folder for any MCP client."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_mmrag._cli.opening import (
    DEFAULT_FOLDER,
    ModelName,
    collection_metadata,
    collection_names,
    open_collection,
    recorded_model,
)
from langchain_mmrag._cli.options import Checkpoint, Model, named_model
from langchain_mmrag._extras import require
from langchain_mmrag._mcp import DEFAULT_PORT, LOOPBACK
from langchain_mmrag.errors import StoreError

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from langchain_mmrag.vectorstores import MultimodalChroma

TOKEN_VARIABLE = "MMRAG_MCP_TOKEN"  # noqa: S105 - the name of it

Folder = Annotated[Path, typer.Option("--store", help="Folder the collections lie in.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--collection", help="Collection to serve; may be repeated. Default: all of the folder."),
]
Http = Annotated[bool, typer.Option("--http", help="Serve over HTTP instead of standard input and output.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")]
Host = Annotated[
    str,
    typer.Option(help=f"Address to listen on. One that other machines can reach needs {TOKEN_VARIABLE}."),
]
Writes = Annotated[bool, typer.Option("--allow-writes", help="Let clients add and delete.")]
Roots = Annotated[
    list[Path] | None,
    typer.Option(
        "--root", exists=True, file_okay=False, help="Read pictures from this folder alone; may be repeated."
    ),
]
Structured = Annotated[
    bool, typer.Option("--structured", help="Return hits as structured output, too; not all clients bear it.")
]


def serve_mcp(
    *,
    store: Folder = Path(DEFAULT_FOLDER),
    collection: Names = None,
    http: Http = False,
    host: Host = LOOPBACK,
    port: Port = DEFAULT_PORT,
    allow_writes: Writes = False,
    root: Roots = None,
    structured: Structured = False,
    model: Model = None,
    checkpoint: Checkpoint = None,
) -> None:
    """Serve collections to an MCP client: an assistant, an editor, an agent.

    Over standard input and output unless --http is given. Clients can search and look at items; they change
    nothing unless --allow-writes is given. With a token in MMRAG_MCP_TOKEN, HTTP clients must send it.
    """
    require("mcp", extra="mcp")
    import anyio

    from langchain_mmrag.mcp import create_server, serve_stdio
    from langchain_mmrag.retrievers import MultimodalRetriever

    stores = _open(store, collection, named_model(model, checkpoint))
    # by meaning and by words, as `mmrag search` does
    retrievers = {name: MultimodalRetriever(store=each, search="hybrid") for name, each in stores.items()}
    server = create_server(retrievers, roots=root, writable=allow_writes, structured=structured)
    if http:
        anyio.run(_serve_http, server, host, port)
    else:
        anyio.run(serve_stdio, server)


async def _serve_http(server: Server, host: str, port: int) -> None:
    from langchain_mmrag._mcp.http import is_loopback
    from langchain_mmrag.mcp import serve_http

    token = os.environ.get(TOKEN_VARIABLE) or None
    if token and not is_loopback(host):
        typer.echo(f"mmrag: whoever reaches {host} and knows the token can search what is served", err=True)
    await serve_http(server, host=host, port=port, token=token, on_listening=_say)


def _knows_its_model(folder: Path, name: str) -> bool:
    return recorded_model(collection_metadata(folder, name) or {}) is not None


def _say(address: str) -> None:
    typer.echo(f"mmrag: serving at {address}", err=True)


def _open(folder: Path, names: list[str] | None, model: ModelName | None) -> dict[str, MultimodalChroma]:
    """The collections named, else all of known models; those made with one model share it."""
    load = cache(ModelName.load)
    wanted = names or collection_names(folder)
    opened: dict[str, MultimodalChroma] = {}
    for name in wanted:
        if not names and model is None and not _knows_its_model(folder, name):
            # opened, it would be taken for one that is still empty
            why = f"collection {name!r} does not say which model made it: name both, with --model"
            typer.echo(f"mmrag: not served: {why}", err=True)
            continue
        opened[name] = open_collection(folder, name, model=model, load=load)
    if not opened:
        msg = f"there is no collection to serve in {folder}: make one with mmrag index PATHS"
        raise StoreError(msg)
    return opened
