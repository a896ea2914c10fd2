"""`ChatTransformers`: a vision model of transformers on this machine as a LangChain chat model."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from operator import add
from threading import Event, Lock, Thread
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings._hub import load_with_processor, name_or_parts
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, open_image

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_CALL_SETTINGS = ("max_new_tokens", "max_tokens", "temperature", "top_p")
_PROFILE: ModelProfile = {
    "text_inputs": True,
    "image_inputs": True,
    "image_url_inputs": True,
    "image_tool_message": False,
    "pdf_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "tool_calling": False,
}


class ChatTransformers(BaseChatModel):
    """Answers from text and pictures with an image-text-to-text model of transformers, on this machine.

    ```python
    llm = ChatTransformers(model="HuggingFaceTB/SmolVLM-256M-Instruct", max_new_tokens=200)
    chain = create_rag_chain(retriever, llm)
    ```

    Any model that `AutoModelForImageTextToText` loads and whose processor has a chat template: SmolVLM,
    Idefics2 and 3, LLaVA, Qwen-VL. Of the Flamingo line, Flamingo itself was never published; its open
    successors in transformers are Idefics, Idefics2, Idefics3 and SmolVLM.

    Pictures come as LangChain's content blocks (base64 or a web address) and are opened under `media_policy`.
    Text cannot forge the model's control tokens: they are broken up where they occur in a message. One call
    runs at a time. It calls no tools.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    model: Any
    """Name or folder of a model, or a loaded model with its processor."""

    max_new_tokens: int = Field(default=512, ge=1, alias="max_tokens")
    """How long an answer may get."""

    temperature: float | None = Field(default=None, ge=0)
    """How freely to choose words; 0 takes the likeliest. By default as the model's own settings say."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Choose among the likeliest tokens that make up this much probability."""

    stop: list[str] | None = None
    """An answer ends before any of these."""

    generation: dict[str, Any] = Field(default_factory=dict)
    """Other settings of transformers' `generate`, such as `repetition_penalty`."""

    streaming: bool = False
    """Tell callbacks of each piece also where the whole answer was asked for."""

    device: str | None = None
    """`"cpu"`, `"cuda"`, `"mps"`; the fastest there is by default. A loaded model stays where it is."""

    dtype: str = "auto"
    """`"float32"`, `"bfloat16"`, `"float16"`; by default as the weights were saved."""

    media_policy: MediaPolicy = DEFAULT_POLICY
    """What may be opened. Local files are never read by their address, whatever it says."""

    _lock: Any = PrivateAttr(default_factory=Lock)
    _loaded: dict[tuple[Any, ...], tuple[Any, Any]] = PrivateAttr(default_factory=dict)

    @field_validator("model")
    @classmethod
    def _is_a_name_or_both_parts(cls, model: Any) -> Any:
        return name_or_parts(model)

    @property
    def _llm_type(self) -> str:
        return "transformers-chat"

    @property
    def _model_name(self) -> str:
        if isinstance(self.model, str):
            return self.model
        return str(getattr(self.model[0], "name_or_path", "") or type(self.model[0]).__name__)

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {
            "model": self._model_name,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": self.stop,
            "generation": self.generation,
            "dtype": self.dtype,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "transformers"
        params.setdefault("ls_model_name", self._model_name)
        params["ls_max_tokens"] = kwargs.get("max_tokens", kwargs.get("max_new_tokens", self.max_new_tokens))
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return _PROFILE.copy()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - `stream` tells of tokens
        **kwargs: Any,
    ) -> ChatResult:
        with closing(self._answer(messages, stop, kwargs)) as chunks:
            message = reduce(add, chunks)
        whole = AIMessage(
            message.content,
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=whole)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with closing(self._answer(messages, stop, kwargs)) as chunks:
            for message in chunks:
                chunk = ChatGenerationChunk(message=message)
                if run_manager is not None:
                    run_manager.on_llm_new_token(message.text, chunk=chunk)
                yield chunk

    def _answer(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, settings: Mapping[str, Any]
    ) -> Generator[AIMessageChunk]:
        """The answer in pieces; the last one carries the counts of tokens. Closing it stops the model."""
        generation = self._settings(settings)
        conversation = [self._turn(number, message) for number, message in enumerate(messages, 1)]
        with self._lock:
            model, processor = self._load()
            inputs = _inputs(model, processor, conversation)
        ends = [text for text in (self.stop if stop is None else stop) or () if text]
        run = _Run(model, processor, inputs, generation, _Ending(ends))
        for piece in run.pieces(self._lock):
            if piece:
                yield AIMessageChunk(content=piece)
        yield AIMessageChunk(
            content="",
            usage_metadata=UsageMetadata(
                input_tokens=run.asked, output_tokens=run.answered, total_tokens=run.asked + run.answered
            ),
            response_metadata={"model_name": self._model_name, "finish_reason": run.finish_reason},
            chunk_position="last",
        )

    def _settings(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `generate`, with those of a single call."""
        if unknown := [name for name in call if name not in _CALL_SETTINGS]:
            known = ", ".join(_CALL_SETTINGS)
            msg = f"a ChatTransformers knows no {', '.join(unknown)} for a call: use {known}"
            raise ValueError(msg)
        chosen: dict[str, Any] = {"max_new_tokens": self.max_new_tokens, **self.generation}
        for name in ("max_tokens", "max_new_tokens"):
            if call.get(name) is not None:
                chosen["max_new_tokens"] = call[name]
        for name in ("temperature", "top_p"):
            value = call.get(name, getattr(self, name))
            if value is not None:
                chosen[name] = value
        if "temperature" in chosen:
            chosen["do_sample"] = chosen["temperature"] > 0
        if chosen.get("do_sample") is False:  # transformers warns of what it will not use
            chosen.pop("temperature", None)
            chosen.pop("top_p", None)
        elif "top_p" in chosen:
            chosen["do_sample"] = True
        return chosen

    def _turn(self, number: int, message: BaseMessage) -> dict[str, Any]:
        """A message as chat templates take it."""
        role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type, message.type)
        parts = (self._part(number, block) for block in message.content_blocks)
        return {"role": role, "content": [part for part in parts if part is not None]}

    def _part(self, number: int, block: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = block.get("type")
        if kind == "text":
            return {"type": "text", "text": block["text"]}
        if kind == "image":
            return {"type": "image", "image": self._picture(number, block)}
        if kind == "reasoning":  # of an earlier answer: not for the model to read again
            return None
        msg = f"message {number} holds a block of type {kind}: a ChatTransformers takes text and pictures"
        raise ValueError(msg)

    def _picture(self, number: int, block: Mapping[str, Any]) -> Any:
        try:
            if encoded := block.get("base64"):
                return open_image(b64decode(encoded), self.media_policy)
            address = str(block.get("url") or "")
            if address.lower().startswith(("http://", "https://", "data:")):
                return open_image(address, self.media_policy)
        except LoadError as error:
            error.add_note(f"It is a picture in message {number}.")
            raise
        msg = (
            f"a picture in message {number} has neither base64 nor a web address: langchain_mmrag.prompts"
            ".image_block(path) makes a block of a file"
        )
        raise ValueError(msg)

    def _load(self) -> tuple[Any, Any]:
        # Copies of this object, such as one with other callbacks, have the dict in common: they load it once.
        key = (self.model if isinstance(self.model, str) else id(self.model[0]), self.device, self.dtype)
        if key not in self._loaded:
            if isinstance(self.model, str):
                kind = "AutoModelForImageTextToText"
                loaded = load_with_processor(self.model, kind, self.device, dtype=self.dtype)
            else:
                loaded = (self.model[0], self.model[1])
            if not hasattr(loaded[1], "apply_chat_template"):
                msg = f"the second part of model is a {type(loaded[1]).__name__}: give the model's processor"
                raise TypeError(msg)
            loaded[0].eval()
            self._loaded[key] = loaded
        return self._loaded[key]


class _Run:
    """One answer of a model, made in a thread of its own and read here as it grows."""

    def __init__(
        self, model: Any, processor: Any, inputs: Any, settings: dict[str, Any], ending: _Ending
    ) -> None:
        transformers = require("transformers", extra="transformers")
        self.asked = int(inputs["input_ids"].shape[1])
        self.answered = 0
        self.finish_reason = "stop"
        self._ending = ending
        self._tokenizer = processor.tokenizer
        ends = getattr(model.generation_config, "eos_token_id", None)
        self._ends = {*self._tokenizer.all_special_ids, *(ends if isinstance(ends, list) else [ends])}
        self._left = Event()
        self._error: BaseException | None = None
        self._streamer = transformers.TextIteratorStreamer(
            self._tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        self._halt = transformers.StoppingCriteriaList([self._should_halt])
        self._generate: Callable[[], Any] = lambda: model.generate(
            **inputs, **settings, streamer=self._streamer, stopping_criteria=self._halt
        )
        self._longest = int(settings["max_new_tokens"])

    def pieces(self, lock: Any) -> Iterator[str]:
        """Text as it comes, up to a stop sequence; leaving early stops the model.

        The model is locked while it works, not while somebody takes time over reading what it wrote.
        """
        thread = Thread(target=self._work, args=(lock,), name="chat-transformers", daemon=True)
        thread.start()
        try:
            for piece in self._streamer:
                yield self._ending.read(piece)
                if self._ending.is_reached:
                    break
            yield self._ending.rest()
        finally:
            self._left.set()
            thread.join()
        if self._error is not None:
            raise self._error
        if not self._ending.is_reached and self.answered >= self._longest:
            self.finish_reason = "length"

    def _work(self, lock: Any) -> None:
        try:
            with lock:
                tokens = [] if self._left.is_set() else self._generate()[0].tolist()
            # a model that ended by itself on its last allowed token was not cut off
            if tokens and tokens[-1] in self._ends:
                self._longest = len(tokens) + 1
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is read
            self._error = error
            self._streamer.end()

    def _should_halt(self, tokens: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - transformers calls it so
        torch = require("torch", extra="transformers")
        self.answered = int(tokens.shape[1]) - self.asked
        return torch.full((tokens.shape[0],), self._left.is_set(), device=tokens.device, dtype=torch.bool)


@dataclass
class _Ending:
    """Cuts a growing text before the first of some stop sequences."""

    sequences: Sequence[str]
    is_reached: bool = False
    _held: str = ""

    def read(self, piece: str) -> str:
        """What may be shown now: what could yet become a stop sequence is held back."""
        text = self._held + piece
        found = [place for sequence in self.sequences if (place := text.find(sequence)) >= 0]
        if found:
            self.is_reached, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, sequence) for sequence in self.sequences), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back when the text ended."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, sequence: str) -> int:
    """How many characters at the end of `text` are the beginning of `sequence`."""
    return next((size for size in range(len(sequence) - 1, 0, -1) if text.endswith(sequence[:size])), 0)


def _inputs(model: Any, processor: Any, conversation: list[dict[str, Any]]) -> Any:
    """Tensors of a conversation, on the model's device.

    Raises:
        ValueError: If the model has no chat template, or reads fewer tokens than there are.
    """
    name = getattr(model, "name_or_path", type(model).__name__)
    if not getattr(processor, "chat_template", None):
        msg = f"{name} has no chat template: take a model that was trained to chat (often called -Instruct)"
        raise ValueError(msg)
    control = _control_tokens(processor)
    for turn in conversation:
        for part in turn["content"]:
            if part["type"] == "text":
                part["text"] = _broken_up(part["text"], control)
    inputs = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    text_config = model.config.get_text_config()
    limit, count = getattr(text_config, "max_position_embeddings", None), inputs["input_ids"].shape[1]
    if isinstance(limit, int) and count >= limit:
        msg = (
            f"the messages are {count} tokens, {name} reads {limit}: send fewer or smaller pictures, or less"
            " text (PromptBudget sets it in chains and tools)"
        )
        raise ValueError(msg)
    return inputs.to(model.device, dtype=model.dtype)


def _control_tokens(processor: Any) -> list[str]:
    """What marks turns, pictures and the like in a prompt, longest first."""
    added = processor.tokenizer.added_tokens_decoder.values()
    named = (getattr(processor, name, None) for name in ("image_token", "video_token", "fake_image_token"))
    tokens = {*processor.tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    tokens |= {str(token) for token in named if token}
    return sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)


def _broken_up(text: str, control: Sequence[str]) -> str:
    """Text in which no control token is left: retrieved passages must not open turns or claim pictures."""
    for token in control:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
