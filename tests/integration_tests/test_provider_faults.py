"""What comes of a chain when a provider refuses, fails, breaks off or is slow, through the real clients."""

import asyncio
import time

import pytest

from langchain_mmrag.chains import create_rag_chain
from tests.integration_tests.providers.loopback import Answer
from tests.unit_tests.answering import ShelfRetriever, note, picture, picture_file

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"  # inside Google's client
)

LONG = "A red flag was hoisted in spring [1], as the notes say [2]."
ENDLESS = "word " * 600
BLIND = Answer("This model takes no images.", status=400)


@pytest.fixture
def shelf(tmp_path):
    return ShelfRetriever(documents=[picture(picture_file(tmp_path / "flag.png")), note("It was spring.")])


def told(error):
    return " ".join([str(error), *getattr(error, "__notes__", [])])


async def broken(chain, how):
    """What a stream gave up to its error, and the error."""
    chunks = []
    with pytest.raises(Exception, match=r".") as caught:  # noqa: PT012 - two ways to ask
        if how == "stream":
            for chunk in chain.stream("What is it?"):
                chunks.append(chunk)  # noqa: PERF402 - kept one by one, as they come
        else:
            async for chunk in chain.astream("What is it?"):
                chunks.append(chunk)  # noqa: PERF401
    return chunks, caught.value


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_model_that_refuses_pictures_is_told_with_the_remedy(provider, shelf, how):
    chain = create_rag_chain(shelf, provider.model(BLIND))
    with pytest.raises(Exception, match="takes no images") as caught:  # noqa: PT012 - four ways to ask
        if how == "invoke":
            chain.invoke("What is it?")
        elif how == "ainvoke":
            await chain.ainvoke("What is it?")
        else:
            raise (await broken(chain, how))[1]
    assert "images=False" in told(caught.value)


def test_the_remedy_helps(provider, shelf):
    blind = create_rag_chain(shelf, provider.model(BLIND), images=False)
    with pytest.raises(Exception, match="takes no images") as caught:
        blind.invoke("What is it?")
    assert "images=False" not in told(caught.value)  # there were none
    provider.server.says(LONG)
    assert blind.invoke("What is it?")["answer"] == LONG
    assert provider.server.pictures == []


@pytest.mark.parametrize("status", [429, 500])
def test_an_error_of_the_provider_is_raised_as_its_client_says_it(provider, shelf, status):
    chain = create_rag_chain(shelf, provider.model(Answer("try again later", status=status)))
    with pytest.raises(Exception, match="try again later") as caught:
        chain.invoke("What is it?")
    assert ("images=False" in told(caught.value)) == (status == 500)  # too many requests: not the pictures


@pytest.mark.parametrize("how", ["stream", "astream"])
@pytest.mark.parametrize("fault", ["hangs_up_after", "fails_after"])
async def test_a_stream_that_breaks_gives_what_it_had_and_raises(provider, shelf, how, fault):
    chain = create_rag_chain(shelf, provider.model(Answer(LONG, pause_s=0.02, **{fault: 4})))
    chunks, error = await broken(chain, how)
    words = "".join(chunk.get("answer", "") for chunk in chunks).strip()
    if (provider.name, fault, how) == ("google", "hangs_up_after", "astream"):
        assert words  # its client drops what has come but was not yet read
        assert LONG.startswith(words)
    else:
        assert words == "A red flag was"
    assert len(chunks[0]["input"]) > 0
    assert any("context" in chunk for chunk in chunks)
    assert str(error)
    assert not any("citations" in chunk for chunk in chunks)


async def test_a_cancelled_question_hangs_up(provider, shelf):
    chain = create_rag_chain(shelf, provider.model(Answer(ENDLESS, pause_s=0.03)))
    words = []
    begun = asyncio.Event()

    async def ask():
        async for chunk in chain.astream("What is it?"):
            words.append(chunk.get("answer", ""))
            if words[-1]:
                begun.set()

    task = asyncio.create_task(ask())
    await asyncio.wait_for(begun.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if provider.name != "google":  # its client leaves the connection to the garbage collector
        assert await asyncio.to_thread(provider.server.hung_up.wait, 10)
    assert 0 < len("".join(words)) < len(ENDLESS)


def test_a_slow_provider_is_given_up_after_the_clients_timeout(provider, shelf):
    limit = {"client_kwargs": {"timeout": 0.3}} if provider.name == "ollama" else {"timeout": 0.3}
    chain = create_rag_chain(shelf, provider.model(Answer(LONG, pause_s=30), **limit))
    started = time.monotonic()
    with pytest.raises(Exception, match=r"(?i)time"):
        chain.invoke("What is it?")
    assert time.monotonic() - started < 10
