"""The recipe of the embedded model, from the registries to the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langchain_mmrag.training import sources
from langchain_mmrag.training.config import TrainConfig, model_config
from langchain_mmrag.training.data import RenderedPairs
from langchain_mmrag.training.export import VOCABULARY, export
from langchain_mmrag.training.render import charts, shapes, signs
from langchain_mmrag.training.render.glyphs import GlyphSet
from langchain_mmrag.training.render.palette import COLORS, plural
from langchain_mmrag.training.vocabulary import write_vocabulary


def corpus(glyph_set: GlyphSet, packages: dict[str, Path], batches: int = 12) -> list[str]:
    """Texts whose words the vocabulary must hold: all English names and keywords of CLDR, sample captions."""
    path = packages["cldr-annotations-full"] / "annotations/en/annotations.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"].values()
    texts = [text for entry in entries for text in (*entry.get("default", ()), *entry.get("tts", ()))]
    texts += [plural(concept.name) for concept in glyph_set.concepts]
    texts += [
        *COLORS,
        *shapes.FORMS,
        *map(plural, shapes.FORMS),
        *charts.KINDS,
        *charts.TRENDS.values(),
        *signs.WORDS,
    ]
    # No sentences: their words are among CLIP's commonest merges, which are kept anyway.
    pairs = RenderedPairs(glyph_set, batch_size=512, side=32, steps=batches, seed=1, prose_from=batches)
    return texts + [caption for batch in (pairs[k] for k in range(batches)) for caption in batch.captions]


def build(config: TrainConfig, work: Path, out: Path, *, report: Any = None) -> None:
    """Fetch, draw, train and export; every stage found in `work` is gone on with.

    Args:
        config: Settings of the run.
        work: Folder for packages, glyphs and checkpoints; about 1 GB.
        out: Folder that takes config, weights and vocabulary.
        report: Passed on to `train`.
    """
    import torch
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

    from langchain_mmrag.training.trainer import train

    chosen, banks = sources.prepare(work)
    glyph_set = GlyphSet.of(chosen, {style: banks[style] for style in sources.TRAINED_STYLES})
    vocabulary = work / VOCABULARY
    if not vocabulary.exists():
        write_vocabulary(corpus(glyph_set, sources.fetch(work / "packages")), vocabulary)
    tokenizer = SimpleTokenizer(bpe_path=str(vocabulary), context_length=config.context_length)
    cfg = model_config(config, tokenizer.vocab_size)
    torch.manual_seed(config.seed)
    pairs = RenderedPairs(
        glyph_set,
        batch_size=config.batch_size,
        side=config.image_size,
        steps=config.steps,
        seed=config.seed,
        prose_from=config.prose_from,
    )
    average = train(CLIP(**cfg), tokenizer, pairs, config, work / "run", report=report)
    export(average, cfg, vocabulary, out)
