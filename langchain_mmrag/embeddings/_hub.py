"""Files of a model repository: from the cache, else from the hub, else a clear error within seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from langchain_mmrag.errors import ModelUnavailableError

_PROBE_S = 4.0  # a hub that does not answer within this is not reachable, whatever the resolver still tries

WHAT_TO_DO = (
    'Use a folder that holds open_clip_config.json and the weights, model_name="local-dir:/path/to/folder"; '
    "or cache_dir=, filled on a machine that has a connection; "
    'or the small embedded model, OpenCLIPEmbeddings(model_name="mmrag-tiny").'
)


def fetch(
    repo: str, names: Sequence[str], *, cache_dir: str | None = None, revision: str | None = None
) -> Path:
    """Path of the first of these files that the repository has.

    A cached file is taken without asking for a newer one: vectors made before must still compare.

    Raises:
        ModelUnavailableError: If none is cached and the hub cannot be reached or has none of them.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    place: dict[str, Any] = {"cache_dir": cache_dir, "revision": revision}
    for name in names:
        cached = try_to_load_from_cache(repo, name, **place)
        if isinstance(cached, str):
            return Path(cached)
    obstacle = _obstacle()
    if obstacle:
        msg = f"{repo} is not in the cache on this machine, and {obstacle}. {WHAT_TO_DO}"
        raise ModelUnavailableError(msg)
    for name in names:
        try:
            return Path(hf_hub_download(repo, name, **place))
        except Exception as error:  # each version of the hub's client lets another HTTP library's errors out
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            reason = str(error).strip().splitlines() or [type(error).__name__]
            msg = f"{repo}: {name} could not be downloaded ({reason[0]}). {WHAT_TO_DO}"
            raise ModelUnavailableError(msg) from error
    msg = f"{repo} holds none of {', '.join(names)}: it is not an open_clip model. {WHAT_TO_DO}"
    raise ModelUnavailableError(msg)


def _obstacle() -> str | None:
    """Why the hub cannot be used now, or None if it answers.

    Asked in a thread, because looking up a name may block far beyond any timeout given to a connection.
    """
    import httpx
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "the environment asks for offline mode (HF_HUB_OFFLINE)"
    reasons = ["it did not answer in time"]

    def probe() -> None:
        try:
            httpx.head(constants.ENDPOINT, timeout=_PROBE_S)
        except Exception as error:  # noqa: BLE001 - no raising out of a thread; what went wrong is the answer
            reasons[0] = str(error) or type(error).__name__
        else:
            reasons.clear()

    thread = Thread(target=probe, name="hub-probe", daemon=True)
    thread.start()
    thread.join(_PROBE_S)
    return f"{constants.ENDPOINT} cannot be reached ({reasons[0]})" if reasons else None
