"""The contrastive recipe: known answers for the loss, exact text encoding, runs that resume, folders that load."""

import json
import math

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional

from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.media import open_image
from langchain_mmrag.training.card import draw_curve
from langchain_mmrag.training.config import PREPROCESS, TrainConfig, model_config
from langchain_mmrag.training.data import Batch
from langchain_mmrag.training.export import VOCABULARY, export
from langchain_mmrag.training.loss import contrastive_loss
from langchain_mmrag.training.trainer import encode_texts, parameter_groups, pixels, train, update_average
from langchain_mmrag.training.vocabulary import write_vocabulary

CAPTIONS = ["a red square", "a green square", "a blue square", "a white square"]
COLORS = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (255, 255, 255)]


class Squares:
    """Four plain pictures and their captions, in another order each step."""

    def __init__(self, steps):
        self.steps = steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        if step >= self.steps:
            raise IndexError(step)
        order = np.random.default_rng(step).permutation(4)
        images = np.stack([np.full((32, 32, 3), COLORS[k], np.uint8) for k in order])
        return Batch(images, [CAPTIONS[k] for k in order])


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / VOCABULARY
    write_vocabulary(CAPTIONS, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return SimpleTokenizer(bpe_path=str(vocabulary), context_length=16)


def config(**changes):
    settings = {"steps": 20, "warmup_steps": 3, "batch_size": 4, "checkpoint_every": 5, "workers": 0}
    towers = {
        "vision": "test_resnet",
        "image_size": 32,
        "context_length": 16,
        "width": 32,
        "learning_rate": 2e-3,
    }
    return TrainConfig(**{**settings, **towers, **changes})


def new_model(tokenizer):
    torch.manual_seed(0)
    return CLIP(**model_config(config(), tokenizer.vocab_size))


# --- the loss ---------------------------------------------------------------------------------------------


def test_pairs_that_look_alike_cost_log_of_their_number():
    same = functional.normalize(torch.ones(8, 4), dim=-1)
    assert contrastive_loss(same, same, torch.tensor(10.0)).item() == pytest.approx(math.log(8), abs=1e-6)


def test_perfect_pairs_cost_nothing_once_the_scale_is_high():
    apart = torch.eye(8)
    assert contrastive_loss(apart, apart, torch.tensor(100.0)).item() == pytest.approx(0, abs=1e-6)


def test_perfect_pairs_at_scale_one_cost_what_the_formula_says():
    apart = torch.eye(3)
    expected = math.log(math.e + 2) - 1  # -log(e / (e + 1 + 1))
    assert contrastive_loss(apart, apart, torch.tensor(1.0)).item() == pytest.approx(expected, abs=1e-6)


def test_rows_and_columns_count_alike():
    images = functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    texts = functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), dim=-1)
    scale = torch.tensor(7.0)
    logits = scale * images @ texts.T
    target = torch.arange(6)
    expected = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    assert contrastive_loss(images, texts, scale).item() == pytest.approx(expected.item(), abs=1e-6)
    assert contrastive_loss(texts, images, scale).item() == pytest.approx(expected.item(), abs=1e-6)


# --- the parts of the loop --------------------------------------------------------------------------------


def test_text_without_its_padding_gives_the_vectors_of_open_clip(tokenizer):
    model = new_model(tokenizer).eval()
    tokens = tokenizer([*CAPTIONS, "a square", "red red red green blue white square a a a"])
    with torch.no_grad():
        torch.testing.assert_close(
            encode_texts(model, tokens), model.encode_text(tokens, normalize=True), atol=1e-6, rtol=0
        )


def test_white_is_two_standard_deviations_above_the_mean():
    assert PREPROCESS["mean"] == [0.5, 0.5, 0.5]
    result = pixels(np.full((1, 2, 2, 3), 255, np.uint8))
    assert result.shape == (1, 3, 2, 2)
    assert result.unique().tolist() == [2.0]


def test_embeddings_norms_biases_and_temperature_do_not_decay(tokenizer):
    model = new_model(tokenizer)
    decayed, free = parameter_groups(model, 0.1)
    free_ids = {id(p) for p in free["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in free_ids}
    assert {"logit_scale", "positional_embedding", "token_embedding.weight", "ln_final.weight"} <= names
    assert "text_projection" not in names
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero():
    rates = [
        TrainConfig(steps=100, warmup_steps=10, cooldown=0.2, learning_rate=1.0).learning_rate_at(k)
        for k in range(101)
    ]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == 0


def test_a_running_average_follows_fast_at_first_and_keeps_counters(tokenizer):
    model, average = new_model(tokenizer), new_model(tokenizer)
    with torch.no_grad():
        model.text_projection.fill_(1.0)
        average.text_projection.fill_(0.0)
    update_average(average, model, 0.99, step=0)
    assert average.text_projection[0, 0].item() == pytest.approx(0.9)  # decay (1 + 0) / (10 + 0)


# --- whole runs -------------------------------------------------------------------------------------------


def test_training_tells_four_pictures_apart_and_a_resumed_run_ends_with_the_same_weights(tmp_path, tokenizer):
    lines = []
    straight = train(
        new_model(tokenizer), tokenizer, Squares(20), config(), tmp_path / "a", report=lines.append
    )
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[-1]["loss"] < 0.35 < lines[0]["loss"]

    class Stopped(Squares):
        def __getitem__(self, step):
            if step == 10:
                raise KeyboardInterrupt
            return super().__getitem__(step)

    with pytest.raises(KeyboardInterrupt):
        train(new_model(tokenizer), tokenizer, Stopped(20), config(), tmp_path / "b")
    resumed = train(new_model(tokenizer), tokenizer, Squares(20), config(), tmp_path / "b")
    for (name, one), two in zip(straight.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
    draw_curve(lines, tmp_path / "curve.png")
    assert open_image(tmp_path / "curve.png").width > 300
    logged = [json.loads(line)["step"] for line in (tmp_path / "b/log.jsonl").read_text().splitlines()]
    assert logged == [5, 10, 15, 20]


def test_batches_drawn_by_other_processes_are_the_same(tmp_path, tokenizer):
    alone = train(new_model(tokenizer), tokenizer, Squares(6), config(steps=6), tmp_path / "a")
    helped = train(new_model(tokenizer), tokenizer, Squares(6), config(steps=6, workers=1), tmp_path / "b")
    for one, two in zip(alone.state_dict().values(), helped.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)


def test_an_exported_folder_loads_as_an_embedding_with_its_vectors(tmp_path, vocabulary, tokenizer):
    model = new_model(tokenizer).eval()
    export(model, model_config(config(), tokenizer.vocab_size), vocabulary, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        VOCABULARY,
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    clip = OpenCLIPEmbeddings(model_name=f"local-dir:{tmp_path / 'model'}", show_progress=False)
    with torch.no_grad():
        expected = model.encode_text(tokenizer(CAPTIONS), normalize=True).numpy()
    vectors = np.array(clip.embed_documents(CAPTIONS))
    assert vectors.shape == (4, 32)
    assert (vectors * expected).sum(1).min() > 0.9999  # stored in half precision


def test_the_vocabulary_segments_its_words_as_clip_does(vocabulary):
    small, full = SimpleTokenizer(bpe_path=str(vocabulary)), SimpleTokenizer()
    assert small.vocab_size < 4000
    for text in [*CAPTIONS, "square", "white"]:
        assert [small.decoder[k] for k in small.encode(text)] == [full.decoder[k] for k in full.encode(text)]
    assert small.decode(small.encode("crêpe zyzzyva")).strip() == "crêpe zyzzyva"
