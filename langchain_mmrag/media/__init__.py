"""Untrusted media: the only place that opens bytes, and the limits it keeps.

    source ──► bytes ──────────────────────────► pixels ─────────► a prompt
    describe   sources, local, remote (policy)   formats, decode   encode, strip
                                                 frames (films)

Nothing here trusts a name, a declared type or a length: files are read inside the policy's root folders,
addresses are checked where the connection is made, formats are told by their first bytes, and sizes are
capped before decoding.
"""

from __future__ import annotations

from langchain_mmrag.media.decode import ImageFacts, image_facts, open_image, open_with_facts
from langchain_mmrag.media.describe import (
    describe_source,
    holds_secret,
    is_url,
    reason_of,
    without_user_info,
)
from langchain_mmrag.media.encode import PromptPicture, encode_image, prompt_picture
from langchain_mmrag.media.local import open_local
from langchain_mmrag.media.policy import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.media.sources import read_media

__all__ = [
    "DEFAULT_POLICY",
    "ImageFacts",
    "MediaPolicy",
    "PromptPicture",
    "describe_source",
    "encode_image",
    "holds_secret",
    "image_facts",
    "is_url",
    "open_image",
    "open_local",
    "open_with_facts",
    "prompt_picture",
    "read_media",
    "reason_of",
    "without_user_info",
]
