"""Recordings become passages with times; speech is real, made by eSpeak NG and heard by PocketSphinx."""

import re
import wave
from itertools import pairwise
from shutil import copytree

import av
import numpy as np
import pytest
import torch
from ctranslate2.converters import TransformersConverter
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from langchain_mmrag.document_loaders._sound import SoundReader, passages_of
from langchain_mmrag.document_loaders.audio import AudioLoader
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.document_loaders.transcription import (
    FasterWhisperTranscriber,
    PocketSphinxTranscriber,
    Segment,
    Transcriber,
    transcriber_named,
    utterances,
)
from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    MMRAGError,
    ModelUnavailableError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import DEFAULT_POLICY
from tests.unit_tests.films import film_file, scenes_file, tone
from tests.unit_tests.speech import silence, speech_file, spoken

SENTENCES = (
    "please send the report to the new office in london",
    "we will meet at the station tomorrow morning",
)


@pytest.fixture(scope="module")
def sphinx():
    return PocketSphinxTranscriber()


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Two sentences, seven seconds of pause between them."""
    return speech_file(tmp_path_factory.mktemp("talk") / "talk.wav", 1, SENTENCES[0], 7, SENTENCES[1], 1)


def encoded(path, samples, codec, *, tags=None, layout="mono"):
    """A sound file of any make."""
    with av.open(str(path), "w") as out:
        out.metadata.update(tags or {})
        stream = out.add_stream(codec, rate=16000, layout=layout)
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=16000, frame_size=1024
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(piece))
        out.mux(stream.encode())
    return path


def word_errors(said, heard):
    """Words to change, add or leave out, over words said."""
    said, heard = said.split(), heard.split()
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1] / len(said)


def floats(samples):
    return samples.astype(np.float32) / 32768


def test_what_is_said_is_heard_with_its_times(talk, sphinx):
    loader = AudioLoader(talk, transcriber=sphinx)
    first, second = loader.load()
    assert word_errors(SENTENCES[0], first.page_content) <= 0.35
    assert word_errors(SENTENCES[1], second.page_content) <= 0.35
    with wave.open(str(talk)) as file:
        length = file.getnframes() / file.getframerate()
    assert first.metadata["start_s"] == pytest.approx(1, abs=0.4)
    assert second.metadata["start_s"] - first.metadata["end_s"] == pytest.approx(7, abs=0.7)
    assert second.metadata["end_s"] == pytest.approx(length - 1, abs=0.5)
    for one in (first, second):
        facts = {key: one.metadata[key] for key in ("modality", "mime_type", "source", "loader")}
        assert facts == {
            "modality": "audio",
            "mime_type": "audio/wav",
            "source": str(talk),
            "loader": "audio;pocketsphinx",
        }
        assert one.metadata["duration_s"] == pytest.approx(length, abs=0.01)
        assert 0 < one.metadata["confidence"] <= 1
    assert loader.problems == []


def test_a_pause_of_seconds_ends_a_passage(tmp_path, sphinx):
    path = speech_file(tmp_path / "a.wav", 2, SENTENCES[0], 4, SENTENCES[1], 1)
    first, second = AudioLoader(path, transcriber=sphinx).load()
    assert first.metadata["start_s"] == pytest.approx(2, abs=0.4)
    assert second.metadata["start_s"] - first.metadata["end_s"] == pytest.approx(4, abs=0.7)


def test_another_recording_heard_meanwhile_changes_nothing():
    digits = PocketSphinxTranscriber(vocabulary=["one", "two", "three"])
    sound = [floats(np.concatenate([silence(0.5), spoken("three one two"), silence(1), spoken("two one")]))]
    alone = list(digits.transcribe(sound))
    assert len(alone) == 2
    assert list(zip(digits.transcribe(sound), digits.transcribe(sound), strict=True)) == [
        (s, s) for s in alone
    ]


def test_few_words_are_heard_better_when_they_are_known(sphinx):
    digits = PocketSphinxTranscriber(vocabulary=["one two three", "four", "Five"])
    said = "three one four five two"
    (segment,) = digits.transcribe([floats(np.concatenate([silence(0.5), spoken(said), silence(0.6)]))])
    assert set(segment.text.split()) <= {"one", "two", "three", "four", "five"}
    assert word_errors(said, segment.text) <= 0.4
    assert digits.fingerprint == "pocketsphinx:words=five+four+one+three+two"
    assert sphinx.fingerprint == "pocketsphinx"


@pytest.mark.parametrize(
    ("name", "codec", "mime_type"),
    [
        ("a.mp3", "libmp3lame", "audio/mpeg"),
        ("a.flac", "flac", "audio/flac"),
        ("a.ogg", "libopus", "audio/ogg"),
        ("a.m4a", "aac", "audio/mp4"),
        ("a.mka", "pcm_s16le", "audio/x-matroska"),
    ],
)
def test_recordings_of_every_make(tmp_path, name, codec, mime_type):
    path = encoded(
        tmp_path / name, tone(3), codec, tags={"title": "Tone", "artist": "A Fork", "album": "Tests"}
    )
    loader = AudioLoader(path, sound_search=True)
    (document,) = loader.load()
    assert document.page_content == ""
    facts = {key: document.metadata[key] for key in ("mime_type", "title", "artist", "album", "start_s")}
    assert facts == {
        "mime_type": mime_type,
        "title": "Tone",
        "artist": "A Fork",
        "album": "Tests",
        "start_s": 0,
    }
    assert document.metadata["end_s"] == pytest.approx(3, abs=0.15)
    assert loader.problems == []


def test_without_words_each_half_minute_with_sound_is_a_document(tmp_path):
    sound = np.concatenate([tone(45), silence(50), tone(10)])
    path = encoded(tmp_path / "a.flac", sound, "flac")
    loader = AudioLoader(path)
    documents = loader.load()
    assert [(round(d.metadata["start_s"]), round(d.metadata["end_s"])) for d in documents] == [
        (0, 30),
        (30, 60),
        (90, 105),
    ]
    (problem,) = loader.problems
    assert str(problem) == (
        f"{path}: its words cannot be searched: give a transcriber (transcriber=, or --transcribe "
        "pocketsphinx | whisper:MODEL), or put subtitles beside it (.srt, .vtt)"
    )


def test_music_has_no_words_but_a_sound(tmp_path):
    class Deaf:
        fingerprint = "deaf"

        def transcribe(self, sound):
            assert sum(map(len, sound)) == pytest.approx(48000, abs=2000)
            yield from ()

    loader = AudioLoader(encoded(tmp_path / "a.mp3", tone(3), "libmp3lame"), transcriber=Deaf())
    assert len(loader.load()) == 1
    assert "no words were recognised" in str(loader.problems[0])


@pytest.mark.parametrize("hears", [True, False], ids=["with a transcriber", "without"])
def test_silence_is_a_clear_error(tmp_path, sphinx, hears):
    path = speech_file(tmp_path / "quiet.wav", 5)
    loader = AudioLoader(path, transcriber=sphinx if hears else None)
    with pytest.raises(
        CorruptMediaError, match=r"quiet\.wav is silent \(all of its 5 s\): there is nothing to index"
    ):
        loader.load()
    assert loader.problems == []


def test_a_sample_a_second_is_no_sound(tmp_path):
    with wave.open(str(tmp_path / "slow.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(1)
        file.writeframes(tone(2).tobytes())
    with pytest.raises(CorruptMediaError, match=r"slow\.wav claims 1 samples a second"):
        AudioLoader(tmp_path / "slow.wav", sound_search=True).load()


def test_the_sound_of_a_film_is_heard_on_the_films_clock(tmp_path):
    film = scenes_file(tmp_path / "film.mp4", [Image.new("RGB", (64, 48), "grey")], sound=tone(4))
    (document,) = AudioLoader(film, sound_search=True).load()
    assert document.metadata["mime_type"] == "audio/mp4"
    assert document.metadata["end_s"] == pytest.approx(4, abs=0.15)
    with pytest.raises(UnsupportedFormatError, match="has no sound"):
        AudioLoader(film_file(tmp_path / "mute.mp4")).load()


@pytest.mark.parametrize("name", ["text", "zeros", "empty", "half a header"])
def test_what_is_no_recording_is_a_clear_error(tmp_path, name):
    data = {"text": b"hello " * 900, "zeros": bytes(9000), "empty": b"", "half a header": b"RIFF\x00\x00"}[
        name
    ]
    path = tmp_path / "talk.wav"
    path.write_bytes(data)
    with pytest.raises(LoadError, match=r"talk\.wav"):
        AudioLoader(path).load()


def test_a_tail_that_is_missing_costs_only_the_tail(tmp_path):
    path = encoded(tmp_path / "a.flac", np.concatenate([tone(20), tone(20, pitch=660)]), "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (document,) = AudioLoader(path, sound_search=True).load()
    assert 12 <= document.metadata["end_s"] <= 28


def test_damage_in_the_middle_is_told(tmp_path):
    path = encoded(tmp_path / "a.mp3", tone(20), "libmp3lame")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(range(256)) * 11 + bytes(184)
    path.write_bytes(data)
    loader = AudioLoader(path, sound_search=True)
    assert loader.load()[-1].metadata["end_s"] == pytest.approx(20, abs=2)


def test_sound_is_read_a_piece_at_a_time(tmp_path):
    path = speech_file(tmp_path / "long.wav", 60)
    reader = SoundReader(SourceFile(str(path), DEFAULT_POLICY, tmp_path))
    pieces = reader.pieces()
    assert max(len(next(pieces)) for _ in range(5)) <= 16000
    assert reader.seconds < 10
    pieces.close()


# --- cutting at pauses ----------------------------------------------------------------------------------------


def test_speech_is_cut_at_pauses():
    said = [spoken(text) for text in ("hello there", "good morning", "see you")]
    sound = np.concatenate([silence(1), said[0], silence(1), said[1], silence(0.2), said[2], silence(2)])
    pieces = [floats(sound[i : i + 777]) for i in range(0, len(sound), 777)]
    found = list(utterances(iter(pieces)))
    assert len(found) == 2
    second = 2 + len(said[0]) / 16000
    assert [one.start_s for one in found] == [pytest.approx(1, abs=0.3), pytest.approx(second, abs=0.3)]
    whole = floats(sound)
    for one in found:
        at = round(one.start_s * 16000)
        assert np.array_equal(one.samples, whole[at : at + len(one.samples)])


def test_speech_without_a_pause_is_cut_where_it_is_quietest():
    syllables = 0.55 + 0.45 * np.sin(np.arange(9 * 16000) * 2 * np.pi * 4 / 16000)
    loud, soft = floats(tone(9)) * syllables.astype(np.float32), floats(tone(0.2, loudness=0.001))
    found = list(utterances([np.concatenate([loud, soft, loud, soft, loud])], longest_s=10))
    assert all(len(one.samples) <= 10 * 16000 for one in found)
    assert sum(len(one.samples) for one in found) == pytest.approx(27.4 * 16000, abs=16000)
    for one, following in pairwise(found):
        assert one.start_s + len(one.samples) / 16000 == pytest.approx(following.start_s)
    assert found[1].start_s == pytest.approx(9.1, abs=0.15)


@pytest.mark.parametrize(
    "pieces", [[], [np.zeros(0, np.float32)], [np.zeros(5, np.float32)], [floats(silence(60))]]
)
def test_there_are_no_utterances_in_silence(pieces):
    assert list(utterances(pieces)) == []


def test_noise_that_is_always_there_is_no_speech():
    hum = np.random.default_rng(0).normal(0, 300, 16000 * 12).astype(np.int16)
    hum[6 * 16000 : 7 * 16000] += tone(1)
    found = list(utterances([floats(hum)]))
    assert any(one.start_s == pytest.approx(6, abs=0.4) and len(one.samples) < 16000 * 2 for one in found)


# --- passages -------------------------------------------------------------------------------------------------


def segments(*rows):
    return [
        Segment(start, end, " ".join(f"w{start}-{i}" for i in range(count))) for start, end, count in rows
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (segments((0, 2, 10), (2, 4, 10), (4, 6, 10), (6, 8, 10)), [(0, 8, 40)]),
        (segments((0, 5, 32), (6, 8, 10)), [(0, 5, 32), (6, 8, 10)]),
        (segments((0, 5, 40), (5, 9, 30)), [(0, 5, 40), (5, 9, 30)]),
        (segments((0, 2, 3), (3.8, 5, 4)), [(0, 5, 7)]),
        (segments((0, 2, 3), (4, 5, 4)), [(0, 2, 3), (4, 5, 4)]),
        (segments((0, 60, 100)), [(0, 30, 50), (30, 60, 50)]),
        ([], []),
    ],
)
def test_segments_become_passages_that_end_at_pauses(given, expected):
    found = [(one.start_s, one.end_s, len(one.text.split())) for one in passages_of(given)]
    assert found == expected


def test_passages_are_as_sure_as_their_words():
    (one,) = passages_of([Segment(0, 1, "a b c", 0.9), Segment(1, 2, "d", 0.5), Segment(2, 3, "e")])
    assert one.confidence == pytest.approx(0.8)


# --- recognisers ----------------------------------------------------------------------------------------------


def test_recognisers_have_names():
    assert isinstance(transcriber_named("pocketsphinx"), PocketSphinxTranscriber)
    whisper = transcriber_named("whisper:mine/whisper-small")
    assert isinstance(whisper, FasterWhisperTranscriber)
    assert isinstance(whisper, Transcriber)
    assert whisper.fingerprint == "whisper:mine/whisper-small"
    for name in ("", "whisper", "whisper:", "sphinx", "pocketsphinx:large"):
        with pytest.raises(MMRAGError, match="use pocketsphinx, or whisper:MODEL"):
            transcriber_named(name)


@pytest.fixture(scope="module")
def tiny_whisper(tmp_path_factory):
    """A Whisper of one layer whose weights are chance, converted as real ones are: it writes gibberish."""
    folder = tmp_path_factory.mktemp("whisper")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev"]
    marks += ["nospeech", "notimestamps", *(f"{i * 0.02:.2f}" for i in range(1501))]
    tokenizer.add_special_tokens([f"<|{mark}|>" for mark in marks])
    tokenizer.save(str(folder / "tokenizer.json"))
    end, start = map(tokenizer.token_to_id, ("<|endoftext|>", "<|startoftranscript|>"))
    ends = {"decoder_start_token_id": start, "eos_token_id": end, "bos_token_id": end, "pad_token_id": end}
    sizes = {f"{side}_{size}": 1 if size == "layers" else 2 if size == "attention_heads" else 16
             for side in ("encoder", "decoder") for size in ("layers", "attention_heads", "ffn_dim")}  # fmt: skip
    torch.manual_seed(0)
    config = WhisperConfig(vocab_size=tokenizer.get_vocab_size(), d_model=16, **sizes, **ends)
    whisper = WhisperForConditionalGeneration(config)
    whisper.generation_config = GenerationConfig(**ends)
    whisper.generation_config.no_timestamps_token_id = tokenizer.token_to_id("<|notimestamps|>")
    whisper.save_pretrained(folder)
    names = dict.fromkeys(("eos_token", "bos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"feature_size": 80}', encoding="utf-8")
    TransformersConverter(str(folder), copy_files=["tokenizer.json"]).convert(str(folder / "converted"))
    return folder / "converted"


def test_whisper_hears_each_utterance_at_its_time(tiny_whisper):
    whisper = FasterWhisperTranscriber(
        str(tiny_whisper), language="en", device="cpu", compute_type="float32", beam_size=1
    )
    assert re.fullmatch(
        r"whisper:converted-[0-9a-f]{12}:language=en:compute_type=float32:beam_size=1", whisper.fingerprint
    )
    sound = [floats(np.concatenate([silence(1), spoken("hello there"), silence(4), spoken("good morning")]))]
    starts = [one.start_s for one in utterances(sound, pause_s=2)]
    found = list(whisper.transcribe(iter(sound)))
    assert len(starts) == 2
    assert {start for start in starts if any(start <= one.start_s <= start + 2 for one in found)} == set(
        starts
    )
    for one in found:
        assert one.text == one.text.strip() != ""
        assert starts[0] <= one.start_s <= one.end_s <= len(sound[0]) / 16000
        assert 0 < one.confidence <= 1


def test_models_in_folders_of_one_name_are_told_apart(tmp_path, tiny_whisper):
    same, other = tmp_path / "a" / tiny_whisper.name, tmp_path / "b" / tiny_whisper.name
    copytree(tiny_whisper, same)
    copytree(tiny_whisper, other)
    weights = bytearray((other / "model.bin").read_bytes())
    weights[-8] ^= 1
    (other / "model.bin").write_bytes(weights)
    first, moved, changed = (
        FasterWhisperTranscriber(str(folder)).fingerprint for folder in (tiny_whisper, same, other)
    )
    assert first == moved != changed


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        list(FasterWhisperTranscriber(str(tmp_path / "none")).transcribe([floats(tone(1))]))


def test_vocabularies_are_checked():
    with pytest.raises(TypeError, match="list of words"):
        PocketSphinxTranscriber(vocabulary="yes no")
    with pytest.raises(ValueError, match="no pronunciation of xyzzyx"):
        list(PocketSphinxTranscriber(vocabulary=["yes", "xyzzyx"]).transcribe([floats(tone(1))]))
