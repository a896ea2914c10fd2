"""Small vision models of transformers, made on the spot: a LLaVA and an Idefics that chat, a BLIP that matches.

Their weights are random unless they are taught: `llava(folder)` answers nonsense, `blip(folder)` judges at
random. What is under test with those is the way to the model and back. A model that was taught the colours of
plain pictures (`taught=True`, a few seconds) makes its judgement part of a test.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

SIDE = 32
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}
WORDS = ("yes", "no", *COLOURS)
SPECIAL = ("<unk>", "<pad>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)


def llava(folder: Path, *, seed: int = 0, taught: bool = False) -> Path:
    """Write a LLaVA of about 150,000 numbers to `folder`: 32-pixel pictures, a token for each letter.

    `AutoModelForImageTextToText`, `AutoProcessor` and `transformers serve` load it by its folder.

    Args:
        folder: Where to write; made if need be.
        seed: Of the weights.
        taught: Whether to know, asked `QUERY: <one of COLOURS>, DOCUMENT: <a plain picture>`, "yes" from "no".
    """
    import torch
    from transformers import (
        CLIPVisionConfig,
        GenerationConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    processor = _llava_processor()
    words = processor.tokenizer
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
    )
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=16384, initializer_range=0.2, pad_token_id=words.pad_token_id, **ends,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        torch.nn.init.normal_(model.model.multi_modal_projector.linear_2.weight, std=0.5)  # pictures matter
        if taught:
            _teach_llava(model, processor)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=12, pad_token_id=words.pad_token_id, **ends
    )
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def idefics(folder: Path, *, seed: int = 0) -> Path:
    """Write an Idefics3, the kind that SmolVLM is made of, to `folder`: pictures are cut into tiles."""
    import torch
    from transformers import (
        GenerationConfig,
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        LlamaConfig,
    )

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles]
    words = _letters(marks)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "initializer_range": 0.3}
    text = LlamaConfig(vocab_size=len(words), intermediate_size=64, pad_token_id=words.pad_token_id, **small)
    config = Idefics3Config(
        vision_config={**small, "intermediate_size": 32, "image_size": SIDE, "patch_size": 8},
        text_config=text.to_dict(),
        scale_factor=4,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=words.convert_tokens_to_ids("<end_of_utterance>"), pad_token_id=words.pad_token_id
    )
    pictures = Idefics3ImageProcessor(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    model.eval().save_pretrained(folder)
    Idefics3Processor(pictures, words, image_seq_len=1, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    return folder


def blip(folder: Path, *, seed: int = 0, taught: bool = False) -> Path:
    """Write a BLIP with an image-text-matching head to `folder`.

    Args:
        folder: Where to write; made if need be.
        seed: Of the weights.
        taught: Whether to know which of `COLOURS` a plain picture has.
    """
    import torch
    from transformers import BlipConfig, BlipForImageTextRetrieval

    folder.mkdir(parents=True, exist_ok=True)
    processor = _blip_processor(folder)
    words = processor.tokenizer
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["initializer_range"] = 0.2  # or it takes long to learn
    config = BlipConfig(
        text_config={
            **small, "vocab_size": len(words), "encoder_hidden_size": 32, "projection_dim": 16,
            "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        vision_config={**small, "image_size": SIDE, "patch_size": 16, "projection_dim": 16},
        projection_dim=16,
        image_text_hidden_size=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BlipForImageTextRetrieval(config)
        if taught:
            _teach_blip(model, processor)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def cross_encoder(folder: Path):
    """A sentence-transformers CrossEncoder of a LLaVA folder: how much likelier "yes" is than "no"."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    reader = Transformer(
        str(folder),
        transformer_task="any-to-any",
        processing_kwargs={"chat_template": {"add_generation_prompt": True}},
    )
    yes, no = reader.tokenizer.convert_tokens_to_ids(["yes", "no"])
    return CrossEncoder(modules=[reader, LogitScore(yes, no)], device="cpu")


def plain(colour: str, jitter: int = 0) -> Image.Image:
    """A picture of one of `COLOURS`, a little lighter or darker by `jitter`."""
    return Image.new("RGB", (SIDE, SIDE), tuple(max(0, min(255, part + jitter)) for part in COLOURS[colour]))


def _letters(marks: list[str]):
    """A tokenizer with a token for each letter, `WORDS`, and the marks a model needs."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *marks, *WORDS, *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"\b(?:{'|'.join(WORDS)})\b|[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=marks, padding_side="left", model_max_length=16384,
    )  # fmt: skip


def _llava_processor():
    from transformers import CLIPImageProcessor, LlavaProcessor

    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return LlavaProcessor(
        CLIPImageProcessor(**sizes),
        _letters(["<image>"]),
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _blip_processor(folder: Path):
    from transformers import BertTokenizerFast, BlipImageProcessor, BlipProcessor

    letters = [chr(code) for code in range(97, 123)]
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *COLOURS,
        *letters,
        *(f"##{c}" for c in letters),
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    words = BertTokenizerFast(vocab={token: n for n, token in enumerate(vocabulary)}, model_max_length=64)
    return BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), words)


def _lessons(steps: int):
    """Pictures with their colours and the colours asked for, half of them the right ones."""
    import random

    chance = random.Random(0)
    names = list(COLOURS)
    for _ in range(steps):
        batch = []
        for true in names * 2:
            asked = true if chance.random() < 0.5 else chance.choice([name for name in names if name != true])
            batch.append((plain(true, chance.randint(-20, 20)), asked, asked == true))
        yield batch


def _teach_llava(model, processor) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    words = processor.tokenizer
    answers = torch.tensor(words.convert_tokens_to_ids(["no", "yes"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for batch in _lessons(55):
        texts = [
            processor.apply_chat_template(
                [{"role": "query", "content": asked}, {"role": "document", "content": [{"type": "image"}]}],
                add_generation_prompt=True,
            )
            for _, asked, _ in batch
        ]
        inputs = processor(
            images=[image for image, _, _ in batch], text=texts, padding=True, return_tensors="pt"
        )
        logits = model(**inputs, logits_to_keep=1).logits[:, -1, answers]
        right = torch.tensor([int(is_right) for _, _, is_right in batch])
        loss = cross_entropy(logits, right)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _teach_blip(model, processor) -> None:
    import torch
    from torch.nn.functional import cross_entropy

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for batch in _lessons(70):
        inputs = processor(
            images=[image for image, _, _ in batch],
            text=[asked for _, asked, _ in batch],
            padding=True,
            return_tensors="pt",
        )
        right = torch.tensor([int(is_right) for _, _, is_right in batch])
        loss = cross_entropy(model(**inputs).itm_score, right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
