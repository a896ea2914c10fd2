"""Files of a model repository: from the cache, else from the hub, else a clear error within seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings._devices import choose_device
from langchain_mmrag.errors import ModelUnavailableError

Model = TypeVar("Model")

_WEIGHTS = ("*.safetensors", "*.bin")
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


def load_pretrained(name: str, load: Callable[[bool], Model]) -> Model:
    """A model of transformers or a library on top of it: from a folder, the cache, else the hub.

    Args:
        name: A folder or the name of a repository.
        load: Loads it; called with whether to look at local files alone.

    Raises:
        ModelUnavailableError: If it is not here and cannot be fetched, or is not what `load` reads.
    """
    try:
        return load(True)
    except Exception as error:  # noqa: BLE001 - loaders raise nearly every kind: passed on below, or overcome
        missing = error
    if Path(name).is_dir():
        msg = f"the model in {name} cannot be loaded ({_first_line(missing)}): is it of the right kind?"
        raise ModelUnavailableError(msg) from missing
    if obstacle := _obstacle():
        msg = (
            f"{name} is not here ({_first_line(missing)}), and {obstacle}. Use a folder that holds the model,"
            " or fill the cache on a machine that has a connection"
        )
        raise ModelUnavailableError(msg) from missing
    try:
        return load(False)
    except Exception as error:
        msg = f"{name} cannot be loaded ({_first_line(error)}): check its name and its kind"
        raise ModelUnavailableError(msg) from error


def load_with_processor(name: str, kind: str, device: str | None, **settings: Any) -> tuple[Any, Any]:
    """A model of transformers on its device, and its processor.

    Args:
        name: A folder or the name of a repository.
        kind: The class in transformers that loads it.
        device: Where to; `None` for the fastest there is.
        **settings: For that class.

    Raises:
        MissingDependencyError: If transformers is not installed.
        ModelUnavailableError: As `load_pretrained`.
    """
    transformers = require("transformers", extra="transformers")
    place = choose_device(device)

    def load(local: bool) -> tuple[Any, Any]:
        model = getattr(transformers, kind).from_pretrained(name, local_files_only=local, **settings)
        return model.to(place), transformers.AutoProcessor.from_pretrained(name, local_files_only=local)

    return load_pretrained(name, load)


def name_or_parts(model: Any) -> Any:
    """What names a model of transformers: a name, a folder, or the loaded model with its processor.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(model, str) or (isinstance(model, tuple | list) and len(model) == 2):  # noqa: PLR2004
        return model
    msg = f"model is a {type(model).__name__}: give a name, a folder, or (model, processor)"
    raise ValueError(msg)


def model_fingerprint(model: Any) -> str:
    """What tells a model from another: its name, or the content of a folder or of a loaded model's numbers.

    Args:
        model: As `name_or_parts` takes it.

    Raises:
        ModelUnavailableError: If it is a folder without weights.
    """
    if not isinstance(model, str):
        return f"state-{state_digest(model[0])}"
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    files = sorted(path for kind in _WEIGHTS for path in folder.glob(kind))
    if not files:
        msg = f"{model} holds no weights ({', '.join(_WEIGHTS)}): is it the folder of a model?"
        raise ModelUnavailableError(msg)
    content = sha256()
    for path in [*sorted(folder.glob("*.json")), *files]:
        with path.open("rb") as file:
            content.update(file_digest(file, "sha256").digest())
    return f"sha256-{content.hexdigest()[:16]}"


def state_digest(model: Any) -> str:
    """A short digest of all parameters and buffers of a model."""
    import torch

    content = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
