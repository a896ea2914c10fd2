"""Recordings and films found by how they sound, beside what is said and seen in them."""

import logging

import av
import numpy as np
import pytest
from chromadb.api.shared_system_client import SharedSystemClient
from langchain_core.documents import Document

from langchain_mmrag.errors import (
    CorruptMediaError,
    EmbeddingMismatchError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.media.sounds import LONGEST_S, sound_between
from langchain_mmrag.queries import Query
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings
from tests.unit_tests.films import film_file

RATE = 16_000
PITCHES = {"rumble": 110, "hum": 440, "whistle": 1760, "hiss": 6000}


class BandEmbeddings:
    """Sounds by their strength in octaves; a word for a sound by where such a sound is strong."""

    sampling_rate = RATE
    LOWEST, OCTAVES = 55.0, 8

    def __init__(self, fingerprint="bands:v1"):
        self.fingerprint = fingerprint
        self.heard = []

    def embed_audio(self, sounds):
        self.heard += [len(sound) / RATE for sound in sounds]
        return [self._bands(sound).tolist() for sound in sounds]

    def embed_query(self, text):
        vector = np.full(self.OCTAVES + 1, 0.05)
        for word in text.lower().split():
            if word in PITCHES:
                vector[self._octave(PITCHES[word])] += 1
        return vector.tolist()

    def _octave(self, pitch):
        return np.clip(np.floor(np.log2(np.maximum(pitch, 1) / self.LOWEST)), 0, self.OCTAVES).astype(int)

    def _bands(self, sound):
        assert sound.dtype == np.float32
        power = np.abs(np.fft.rfft(sound)) ** 2
        octaves = self._octave(np.fft.rfftfreq(len(sound), 1 / RATE))
        return np.sqrt(np.bincount(octaves, power, self.OCTAVES + 1))


def samples_of(parts, rate=RATE):
    """One tone after another: pairs of a pitch in Hz, 0 for silence, and seconds."""
    tones = [0.4 * np.sin(2 * np.pi * pitch * np.arange(int(s * rate)) / rate) for pitch, s in parts]
    return np.concatenate(tones).astype(np.float32)


def write_sound(container, stream, samples, rate):
    layout, size = stream.codec_context.layout.name, stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(stream.encode(part))
    container.mux(stream.encode())


def recording(path, parts, codec="pcm_s16le", rate=RATE, layout="mono"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        write_sound(
            container, container.add_stream(codec, rate=rate, layout=layout), samples_of(parts, rate), rate
        )
    return path


def talking_film(path, parts, seconds):
    """A film of nothing to see, with sound."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(int(seconds * 5)):
            shade = np.full((48, 64, 3), 20 * (number % 10), np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(picture.encode())
        write_sound(container, sound, samples_of(parts), RATE)
    return path


def pitch_of(samples, rate=RATE):
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


# --- what is heard of a file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_s16le", 16_000, "mono"),
        ("a.wav", "pcm_s16le", 44_100, "stereo"),
        ("a.mp3", "libmp3lame", 44_100, "mono"),
        ("a.flac", "flac", 48_000, "stereo"),
        ("a.m4a", "aac", 48_000, "mono"),
        ("a.mkv", "libopus", 48_000, "mono"),
    ],
)
def test_the_part_between_two_times_is_heard_whatever_the_format(tmp_path, name, codec, rate, layout):
    path = recording(tmp_path / name, [(440, 3), (1760, 3), (880, 3)], codec, rate, layout)
    for start, end, pitch, seconds in (
        (0.0, 2.5, 440, 2.5),
        (None, 2.5, 440, 2.5),
        (3.5, 5.5, 1760, 2.0),
        (7.0, None, 880, 2.0),
        (7.0, 99.0, 880, 2.0),
        (6.5, float("nan"), 880, 2.5),
    ):
        samples = sound_between(str(path), start, end, rate=RATE)
        assert samples.dtype == np.float32
        assert len(samples) / RATE == pytest.approx(seconds, abs=0.06)
        assert pitch_of(samples) == pytest.approx(pitch, rel=0.01)
        assert 0.2 < np.abs(samples).max() <= 1
    assert len(sound_between(str(path), 20.0, 25.0, rate=RATE)) == 0


def test_of_a_long_recording_no_more_is_read_than_is_heard(tmp_path, monkeypatch):
    path = recording(tmp_path / "long.wav", [(440, 240), (1760, 60)])
    read = []
    from langchain_mmrag.media import sounds

    opened = sounds.open_local

    def counted(*args):
        file = opened(*args)

        class Counted:
            def read(self, size):
                data = file.read(size)
                read.append(len(data))
                return data

            seek, tell, close, seekable = file.seek, file.tell, file.close, file.seekable

            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

        return Counted()

    monkeypatch.setattr(sounds, "open_local", counted)
    samples = sound_between(str(path), 250.0, None, rate=RATE)
    assert len(samples) == LONGEST_S * RATE
    assert pitch_of(samples) == pytest.approx(1760, rel=0.01)
    assert sum(read) < 0.35 * path.stat().st_size


def test_what_has_no_sound_is_broken_or_forbidden_is_told(tmp_path):
    silent_film = film_file(tmp_path / "film.mp4", seconds=1)
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEjunk")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    good = recording(tmp_path / "good.wav", [(440, 1)])
    with pytest.raises(UnsupportedFormatError, match=r"film\.mp4 has no sound"):
        sound_between(str(silent_film), rate=RATE)
    with pytest.raises((CorruptMediaError, UnsupportedFormatError), match=r"broken\.wav"):
        sound_between(str(tmp_path / "broken.wav"), rate=RATE)
    with pytest.raises((CorruptMediaError, UnsupportedFormatError), match=r"list\.m3u8"):
        sound_between(str(tmp_path / "list.m3u8"), rate=RATE)
    with pytest.raises(SourceNotFoundError):
        sound_between(str(tmp_path / "gone.wav"), rate=RATE)
    with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
        sound_between(str(good), rate=RATE, policy=MediaPolicy(roots=(tmp_path / "elsewhere",)))
    assert len(sound_between(good.as_uri(), rate=RATE)) == RATE


# --- a store of sounds --------------------------------------------------------------------------------------


def audio(id_, path, start=0.0, end=2.0, text="", modality="audio", **metadata):  # noqa: PLR0917
    given = {"modality": modality, "source": str(path), "start_s": start, "end_s": end, **metadata}
    return Document(id=id_, page_content=text, metadata=given)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A folder with a recording of two seconds of each pitch, and one of all."""
    folder = tmp_path_factory.mktemp("tones")
    for name, pitch in PITCHES.items():
        recording(folder / f"{name}.wav", [(pitch, 2)])
    recording(folder / "all.wav", [(pitch, 2) for pitch in PITCHES.values()])
    recording(folder / "silence.wav", [(0, 2)])
    recording(folder / "others.wav", [(pitch, 1) for pitch in (230, 900, 7500, 240, 950, 7600) * 3])
    talking_film(folder / "film.mp4", [(PITCHES["hum"], 3), (PITCHES["whistle"], 3)], 6)
    film_file(folder / "mute.mp4", seconds=1)
    return folder


@pytest.fixture
def bands():
    return BandEmbeddings()


@pytest.fixture
def heard(open_store, counting_embeddings, bands, tones, sample_images):
    """Recordings without words, moments of a film, pictures and passages."""
    store = open_store(counting_embeddings, audio_embedding=bands)
    store.add_documents(
        [audio(name, tones / f"{name}.wav") for name in PITCHES]
        + [audio("silence", tones / "silence.wav")]
        + [audio(f"other {n}", tones / "others.wav", n, n + 1.0) for n in range(18)]
        + [
            audio("film hum", tones / "film.mp4", 0.0, 3.0, "red words", "video"),
            audio("film whistle", tones / "film.mp4", 3.0, 6.0, "red talk", "video"),
            audio("mute", tones / "mute.mp4", 0.0, 1.0, "", "video", thumbnail=str(sample_images["blue"])),
        ]
    )
    store.add_texts(
        [f"a passage about tides number {n}" for n in range(6)], ids=[f"text {n}" for n in range(6)]
    )
    store.add_images([sample_images["red"], sample_images["green"]], ids=["red", "green"])
    return store


def ids(documents):
    return [document.id for document in documents]


def sounds_of(store):
    collection = store._sounds._existing()
    return set() if collection is None else set(collection.get()["ids"])


OTHERS = {f"other {n}" for n in range(18)}
AUDIBLE = {*PITCHES, *OTHERS, "film hum", "film whistle"}


def test_only_what_has_sound_has_a_vector_of_it(heard, bands):
    assert sounds_of(heard) == AUDIBLE
    assert [round(seconds) for seconds in bands.heard] == [2] * 4 + [1] * 18 + [3, 3]
    assert len(heard.get()["ids"]) == 34  # what cannot be heard is there all the same


@pytest.mark.parametrize("name", PITCHES)
@pytest.mark.parametrize("search", ["vector", "hybrid"])
@pytest.mark.parametrize("rank", ["calibrated", "rrf", "centered"])
def test_words_for_a_sound_find_it(heard, name, search, rank):
    options = {"search": search, "rank": rank}
    assert ids(heard.similarity_search(name, k=1, modality="audio", **options)) == [name]
    assert name in ids(heard.similarity_search(f"a {name}", k=3, **options))


def test_a_moment_of_a_film_is_found_by_its_own_sound(heard):
    for name in ("hum", "whistle"):
        assert ids(heard.similarity_search(f"red {name}", k=1, modality="video")) == [f"film {name}"]


def test_what_has_no_sound_is_judged_by_what_it_has(heard, open_store):
    plain = open_store(CountingEmbeddings(show_progress=False))
    rows = heard.get(include=["metadatas", "documents"])
    known = [i for i in rows["ids"] if i not in {*PITCHES, *OTHERS}]
    plain.add_documents(heard.get_by_ids(known))
    for query in ("red", "green", "tides"):
        options = {"k": 4, "modality": "image"}
        with_sound = heard.search_ranked(query, **options)
        without = plain.search_ranked(query, **options)
        assert ids(d for d, _ in with_sound) == ids(d for d, _ in without)
    assert heard.similarity_search("red", k=1, modality="image")[0].id == "red"
    assert set(ids(heard.similarity_search("silence", k=30, modality="audio"))) == {
        *PITCHES,
        *OTHERS,
        "silence",
    }


@pytest.mark.parametrize("more", [0, 55], ids=["six rows", "sixty rows"])
def test_a_recording_with_words_is_found_by_its_sound_too(
    open_store, counting_embeddings, bands, tones, more
):
    store = open_store(counting_embeddings, audio_embedding=bands)
    words = {"hum": "the ship leaves"}
    store.add_documents(
        [audio(name, tones / f"{name}.wav", text=words.get(name, "")) for name in PITCHES]
        + [audio(f"other {n}", tones / "others.wav", n, n + 1.0) for n in range(2 + more // 4)]
    )
    store.add_texts([f"a passage about tides number {n}" for n in range(more - more // 4)])
    for name in PITCHES:
        for search in ("vector", "hybrid"):
            assert ids(store.similarity_search(name, k=1, search=search)) == [name]
    assert ids(store.similarity_search("the ship leaves", k=1, search="hybrid")) == ["hum"]
    sure = store.similarity_search_with_relevance_scores("hum", k=60)
    assert [score for _, score in sure] == sorted((score for _, score in sure), reverse=True)


def test_relevances_scores_and_variety_take_sounds(heard):
    found = heard.search_ranked("whistle", k=12)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    sure = heard.similarity_search_with_relevance_scores("whistle", k=12)
    assert all(0 <= each <= 1 for _, each in sure)
    assert ids(d for d, _ in sure) == ids(d for d, _ in found)
    assert "whistle" in ids(heard.max_marginal_relevance_search("whistle", k=3))
    query = Query(text="hum", not_text="whistle")
    assert ids(heard.similarity_search(query, k=1, modality="audio")) == ["hum"]


def test_a_search_by_picture_by_plain_cosine_or_by_words_hears_nothing(heard, bands, sample_images):
    asked = []
    bands.embed_query = asked.append
    heard.similarity_search(Query(image=sample_images["red"]))
    heard.similarity_search("hum", rank="raw")
    heard.similarity_search("red", search="keyword")
    heard.similarity_search("red", search="text")
    assert asked == []


# --- kept in step -------------------------------------------------------------------------------------------


def test_every_way_to_write_keeps_them_in_step(heard, tones, bands):
    heard.update_documents(["hum"], [audio("hum", tones / "hiss.wav")])
    assert ids(heard.similarity_search("hiss", k=2, modality="audio")) in (["hum", "hiss"], ["hiss", "hum"])
    heard.update_documents(["whistle"], [audio("whistle", tones / "silence.wav")])
    heard.delete(["rumble"])
    assert sounds_of(heard) == AUDIBLE - {"whistle", "rumble"}
    before = len(bands.heard)
    heard.rebuild_index()
    assert len(bands.heard) == before
    heard.delete()
    assert sounds_of(heard) == set()
    assert heard.similarity_search("hum") == []


def test_a_collection_filled_without_is_heard_when_it_is_rebuilt(tmp_path, tones, bands):
    def opened(**options):
        SharedSystemClient.clear_system_cache()
        embedding = CountingEmbeddings(show_progress=False)
        return MultimodalChroma("sounds", embedding, persist_directory=tmp_path, **options)

    without = opened()
    without.add_documents([audio(name, tones / f"{name}.wav") for name in PITCHES])
    store = opened(audio_embedding=bands)
    assert len(store.similarity_search("hum", k=9)) == 4
    store.rebuild_index()
    assert sounds_of(store) == set(PITCHES)
    assert ids(store.similarity_search("hum", k=1)) == ["hum"]
    without = opened()
    without.delete(["hum"])
    without.update_documents(["hiss"], [audio("hiss", tones / "all.wav", 0.0, 2.0)])
    again = opened(audio_embedding=bands)
    assert sounds_of(again) == {"rumble", "whistle"}
    again.rebuild_index()
    assert sounds_of(again) == {"rumble", "whistle", "hiss"}
    assert set(ids(again.similarity_search("rumble", k=2))) == {"rumble", "hiss"}
    with pytest.raises(EmbeddingMismatchError, match=r"bands:v1.*bands:v2.*audio_embedding"):
        opened(audio_embedding=BandEmbeddings("bands:v2")).similarity_search("hum")
    again.delete_collection()
    assert not [c.name for c in again._client.list_collections()]


def test_a_file_that_cannot_be_heard_is_told_and_its_document_is_kept(
    open_store, bands, tmp_path, tones, caplog
):
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEjunk")
    policy = MediaPolicy(roots=(tmp_path,))
    store = open_store(CountingEmbeddings(show_progress=False), audio_embedding=bands, media_policy=policy)
    with caplog.at_level(logging.WARNING):
        store.add_documents(
            [
                audio("gone", tmp_path / "gone.wav"),
                audio("outside", tones / "hum.wav"),
                Document(
                    id="nowhere", page_content="words", metadata={"modality": "audio", "start_s": "early"}
                ),
            ]
        )
    assert set(store.get()["ids"]) == {"gone", "outside", "nowhere"}
    assert sounds_of(store) == set()
    assert bands.heard == []
    told = "\n".join(caplog.messages)
    assert "gone.wav" in told
    assert "outside the allowed folders" in told


def test_an_hour_is_heard_for_half_a_minute(open_store, bands, tmp_path):
    path = recording(tmp_path / "long.wav", [(440, 90)], rate=8000)
    store = open_store(CountingEmbeddings(show_progress=False), audio_embedding=bands)
    store.add_documents([audio("long", path, 10.0, 3600.0)])
    assert bands.heard == [LONGEST_S]


def test_an_embedding_without_ears_is_refused(counting_embeddings):
    with pytest.raises(TypeError, match="CountingEmbeddings, which embeds no sound"):
        MultimodalChroma("deaf", counting_embeddings, audio_embedding=counting_embeddings)


def test_the_same_collection_without_text_embedding_still_hears(heard):
    assert heard.without_text_embedding() is heard
