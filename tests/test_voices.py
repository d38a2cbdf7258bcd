"""Sentences, voices and recordings: what is said, its sound, and when each phone sounds."""

import ctypes
import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.lab.commands import speakers as command
from latentsync.media.sound import write_wav
from latentsync.speakers import espeak, voice
from latentsync.speakers.clip import render_clip, truth_json
from latentsync.speakers.identity import random_identity
from latentsync.speakers.real_speech import align_recording, find_recordings
from latentsync.speakers.recording import CLEAN, Recording, random_recording
from latentsync.speakers.sentences import (
    HELD_OUT_SENTENCES,
    SENTENCES,
    VOCABULARY,
    fit_random_speech,
    fit_rested_speech,
    fit_sentence,
    random_sentence,
)
from latentsync.speakers.visemes import VISEMES, VOWELS
from latentsync.speakers.voice import (
    HELD_OUT_VOICE,
    Phone,
    Speech,
    Voice,
    joined,
    parse_phones,
    random_voice,
    speak,
)


def _has_espeak() -> bool:
    try:
        ctypes.CDLL(espeak.LIBRARY)
    except OSError:
        return False
    return True


def _has_recordings() -> bool:
    try:
        import pocketsphinx  # noqa: F401

        return bool(find_recordings())
    except (ImportError, MediaError):
        return False


needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="the speech synthesiser flite is not installed")
needs_espeak = pytest.mark.skipif(not _has_espeak(), reason="the speech synthesiser espeak-ng is not installed")
needs_recordings = pytest.mark.skipif(
    not _has_recordings(), reason="pocketsphinx or Debian's pocketsphinx-testdata is not installed"
)
SLT, F3 = Voice("slt"), Voice("en-us+f3", engine="espeak")
both_engines = pytest.mark.parametrize(
    "speaker", [pytest.param(SLT, marks=needs_flite), pytest.param(F3, marks=needs_espeak)], ids=["flite", "espeak"]
)


# --- sentences


def test_generated_sentences_are_varied_and_seeded() -> None:
    drawn = [random_sentence(seed) for seed in range(1000)]
    assert drawn == [random_sentence(seed) for seed in range(1000)]
    assert len(set(drawn)) > 990
    assert 8 <= np.mean([len(sentence.split()) for sentence in drawn]) <= 12
    assert sum(map(len, VOCABULARY.values())) > 400
    assert all(re.fullmatch(r"[A-Z][A-Za-z ,':-]*[.?!]", sentence) for sentence in drawn)
    assert sum("?" in sentence for sentence in drawn) > 100 < sum("," in sentence for sentence in drawn)


def test_held_out_sentences_cannot_be_generated() -> None:
    """Each has a word that the vocabulary and the thousand sentences of the grammar lack."""
    known = {word.lower() for words in VOCABULARY.values() for phrase in words for word in phrase.split()}
    known |= {word for seed in range(1000) for word in re.findall(r"[a-z']+", random_sentence(seed).lower())}
    assert len(set(HELD_OUT_SENTENCES)) >= 30
    for sentence in HELD_OUT_SENTENCES:
        assert set(re.findall(r"[a-z']+", sentence.lower())) - known, sentence
        assert sentence not in SENTENCES


@both_engines
def test_sentences_fill_the_time_at_little_cost(speaker: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(sentence: str, speaker: Voice) -> Speech:
        calls.append(sentence)
        return speak(sentence, speaker)

    monkeypatch.setattr("latentsync.speakers.sentences.speak", counted)
    for seed, seconds in enumerate((1.0, 3.0, 3.0, 12.0)):
        calls.clear()
        said, speech = fit_random_speech(speaker, seconds, seed)
        assert seconds <= speech.duration_s < 2.2 * seconds + 2
        assert calls[-1] == said and len(calls) <= 2
    assert fit_random_speech(speaker, 12.0, 3)[0] == said


@needs_flite
def test_listed_sentences_fill_the_time() -> None:
    said = fit_sentence(("We wave.", "Bob may move."), SLT, 3.0, 1)
    assert speak(said, SLT).duration_s >= 3.0
    assert set(re.findall(r"[^.]+\.", said)) <= {"We wave.", " We wave.", "Bob may move.", " Bob may move."}


# --- voices


def test_phones_tile_the_sound() -> None:
    spoken = parse_phones("pau:0.100 aa:0.300 m:0.420 pau:0.700 ", time_scale=1.0, duration_s=0.65)
    assert [phone.name for phone in spoken] == ["pau", "aa", "m", "pau"]
    assert spoken[-1].end_s == 0.65
    assert all(a.end_s == b.start_s for a, b in pairwise(spoken))
    assert parse_phones("aa:0.3", 1.0, 0.5)[-1] == Phone("pau", 0.3, 0.5)


def test_times_of_a_later_utterance_count_from_its_start() -> None:
    two = "pau:0.1 aa:0.3 pau:0.5 \npau:0.2 m:0.4 pau:0.6 \n"
    known = [("pau", 0.1), ("aa", 0.3), ("pau", 0.5), ("pau", 0.7), ("m", 0.9), ("pau", 1.1)]
    spoken = parse_phones(two, time_scale=2.0, duration_s=2.2)
    assert [(phone.name, phone.end_s) for phone in spoken] == [(name, pytest.approx(2 * end)) for name, end in known]
    cut = parse_phones(two, time_scale=1.0, duration_s=0.9)  # 0.1 s of each utterance is missing
    assert [phone.end_s for phone in cut] == pytest.approx([0.1, 0.3, 0.4, 0.6, 0.8, 0.9])


@needs_flite
@pytest.mark.parametrize("name", ["slt", "kal16"])
def test_flite_moves_the_mouth_in_every_sentence(name: str) -> None:
    """Vowels are louder than the silence around them, also in the second sentence."""
    speech = speak("Hello, I am Clara. We could walk by the water.", Voice(name))
    level = np.abs(speech.sound.astype(np.float64))
    loud = {kind: [] for kind in ("ao", "ay", "pau")}
    for phone in speech.phones:
        part = level[round(phone.start_s * 16_000) : round(phone.end_s * 16_000)]
        if phone.name in loud and phone.start_s > speech.duration_s / 2 and len(part):
            loud[phone.name].append(part.mean())
    assert len(loud["ao"]) == 2 and len(loud["ay"]) == 1
    assert min(loud["ao"] + loud["ay"]) > 10 * max(loud["pau"])


def test_speeches_are_joined_with_rests() -> None:
    one, two = (Speech(np.full(n, n, np.int16), (Phone("aa", 0, n / 16_000),)) for n in (1600, 3200))
    both = joined([one, two], [0.0, 0.5, 0.25])
    assert both.sound.tolist() == [1600] * 1600 + [0] * 8000 + [3200] * 3200 + [0] * 4000
    phones = [(phone.name, phone.start_s, phone.end_s) for phone in both.phones]
    assert phones == [("aa", 0, 0.1), ("pau", 0.1, 0.6), ("aa", 0.6, pytest.approx(0.8)), ("pau", 0.8, 1.05)]


@needs_flite
def test_a_rest_lies_before_after_or_between() -> None:
    places = set()
    for seed in range(6):
        said, speech = fit_rested_speech(Voice(), 1.5, 2.0, seed)
        quiet = [phone for phone in speech.phones if phone.name == "pau" and phone.end_s - phone.start_s >= 1]
        assert len(quiet) == 1 and speech.duration_s >= 2.5 and quiet[0].end_s - quiet[0].start_s <= 2
        samples = slice(round(quiet[0].start_s * 16_000), round(quiet[0].end_s * 16_000))
        assert not speech.sound[samples].any() and said
        places.add("before" if quiet[0].start_s == 0 else "after" if quiet[0] == speech.phones[-1] else "between")
    assert len(places) >= 2


def test_missing_synthesisers_are_named_with_their_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice.shutil, "which", lambda name: None)
    with pytest.raises(MediaError, match="apt-get install flite"):
        speak("Hello there.", SLT)
    elsewhere = tmp_path / "espeak.py"
    elsewhere.write_text(Path(espeak.__file__).read_text().replace(espeak.LIBRARY, "libnowhere.so.1"))
    monkeypatch.setattr(espeak, "__file__", str(elsewhere))
    with pytest.raises(MediaError, match="apt-get install espeak-ng"):
        speak("Hello there.", F3)


def test_what_cannot_be_spoken_is_refused() -> None:
    with pytest.raises(MediaError, match="at least one word"):
        speak(" ... ", Voice())
    with pytest.raises(OptionError, match="slt"):
        Voice("nobody")
    with pytest.raises(OptionError, match="en-gb-scotland, alone or with"):
        Voice("slt", engine="espeak")
    with pytest.raises(OptionError, match="flite, espeak"):
        Voice(engine="parrot")


@both_engines
@pytest.mark.parametrize("sentence", ["-lv", "--help me", "$(touch x); `id` & more", "<mark>[[aI]] &amp;"])
def test_a_sentence_is_only_a_sentence(
    speaker: Voice, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    speech = speak(sentence, speaker)
    assert speech.duration_s > 0.3
    assert len(speech.phones) > 3
    assert list(tmp_path.iterdir()) == []


@both_engines
def test_pitch_stretch_and_tract_change_the_voice(speaker: Voice) -> None:
    sentence = "We were away a year ago."
    changes = ((200, 1.0, 1.0), (200, 1.3, 1.0), (200, 1.0, 1.1), (240, 1.0, 1.0))
    own, slow, large, high = (speak(sentence, Voice(speaker.name, *more, speaker.engine)) for more in changes)
    assert slow.duration_s == pytest.approx(1.3 * own.duration_s, rel=0.06)
    assert large.duration_s == pytest.approx(own.duration_s, rel=0.06)
    assert _pitch_hz(own) == pytest.approx(200, rel=0.12)
    assert _pitch_hz(high) > 1.1 * _pitch_hz(own)
    assert _centroid_hz(large) < 0.97 * _centroid_hz(own)
    for speech in (own, slow, large, high):
        assert speech.phones[0].start_s == 0 and speech.phones[-1].end_s == pytest.approx(speech.duration_s)
        assert all(a.end_s == b.start_s and a.end_s > a.start_s for a, b in pairwise(speech.phones))


def _pitch_hz(speech: Speech) -> float:
    """Median over loud stretches of the lag of the highest autocorrelation between 120 and 320 Hz."""
    values = []
    for start in range(0, len(speech.sound) - 800, 400):
        part = speech.sound[start : start + 800].astype(float)
        if np.abs(part).mean() > 800:
            correlation = np.correlate(part, part, "full")[799:]
            values.append(16_000 / (50 + correlation[50:134].argmax()))
    return float(np.median(values))


def _centroid_hz(speech: Speech) -> float:
    power = np.abs(np.fft.rfft(speech.sound.astype(float)))
    return float(power @ np.fft.rfftfreq(len(speech.sound), 1 / 16_000) / power.sum())


def test_random_voices_are_wide_and_leave_one_out() -> None:
    for gender, pitches in (("female", (160, 260)), ("male", (85, 160))):
        drawn = [random_voice(seed, gender) for seed in range(300)]
        assert drawn == [random_voice(seed, gender) for seed in range(300)]
        assert 0.4 < np.mean([one.engine == "espeak" for one in drawn]) < 0.6
        assert all(pitches[0] <= one.pitch_hz <= pitches[1] for one in drawn)
        assert HELD_OUT_VOICE.name not in {one.name for one in drawn}
        assert {espeak.split_name(one.name)[0] for one in drawn} >= set(espeak.ACCENTS)


def test_every_mnemonic_has_a_known_phone() -> None:
    for accent in espeak.ACCENTS:
        for mnemonic in (*espeak._PHONES, "_:", "_|", "a~+", "Q", "tS;"):
            assert set(espeak.phones_of(mnemonic, accent)) <= set(VISEMES), mnemonic
    assert espeak.phones_of("tS;") == ("ch",)
    assert espeak.phones_of("A@", "en-us") == ("aa", "r") != espeak.phones_of("A@", "en-gb") == ("aa",)


def test_silence_before_a_stop_is_its_closure() -> None:
    """A vowel of 0.1 s and its closure of 0.06 s come as one event; a vowel after an m comes late."""
    rate_hz = 1000
    samples = [999] * 100 + [0] * 60 + [999] * 140
    events = [(0, "a"), (160, "p"), (190, "aI"), (240, "m"), (300, "i:")]
    assert espeak.corrected(events, samples, rate_hz) == [(0, "a"), (100, "p"), (190, "aI"), (240, "m"), (282, "i:")]
    assert espeak.tile([(0, "_:"), (5, "_"), (9, ";"), (20, "b")], 30, "en-us") == [("pau", 0, 20), ("b", 20, 30)]


@needs_espeak
@pytest.mark.parametrize("name", ["en-us", "en-us+f3", "en-gb+Alicia", "en-gb-rp+m2", "en-gb-scotland+Andy"])
def test_espeak_phones_agree_with_the_sound(name: str) -> None:
    """Vowels are far louder than closures, more so than with the times put off by 40 ms either way.

    f3, Alicia and m2 have an echo, which would fill the closures.
    """
    speech = speak("Papa bought a copper pot. Did a pig take a tub, Bob?", Voice(name, engine="espeak"))
    contrast = {lag: _contrast_db(speech, lag / 1000) for lag in (-40, 0, 40)}
    assert contrast[0] > 18
    assert contrast[0] > max(contrast[-40], contrast[40]) + 4


def _contrast_db(speech: Speech, lag_s: float) -> float:
    """Mean level of the vowels over that of p, t, k and pauses, with the phones put off by `lag_s`; 5 ms steps."""
    blocks = (speech.sound[: len(speech.sound) // 80 * 80].reshape(-1, 80) / 32768) ** 2
    level_db = 10 * np.log10(blocks.mean(axis=1) + 1e-7)
    ends = [phone.end_s + lag_s for phone in speech.phones]
    indices = np.searchsorted(ends[:-1], (np.arange(len(level_db)) + 0.5) * 0.005, side="right")
    names = np.array([phone.name for phone in speech.phones])[indices]
    return float(
        level_db[np.isin(names, list(VOWELS))].mean() - level_db[np.isin(names, ["p", "t", "k", "pau"])].mean()
    )


@needs_flite
@needs_espeak
def test_both_synthesisers_say_the_same_lip_consonants() -> None:
    for sentence in SENTENCES[:4]:
        said = [
            [p.name for p in speak(sentence, one).phones if p.name in ("m", "b", "p", "f", "v")] for one in (SLT, F3)
        ]
        assert said[0] == said[1] != []


@needs_espeak
def test_espeak_says_the_same_again() -> None:
    first = speak("Move the vase.", F3)
    speak("Something else.", Voice("en-gb+m1", engine="espeak"))
    again = speak("Move the vase.", F3)
    assert np.array_equal(first.sound, again.sound) and first.phones == again.phones


# --- recordings


def _speechlike(seconds: float = 1.0) -> np.ndarray:
    """Noise in bursts, 16 kHz: loud for 0.2 s, silent for 0.2 s."""
    noise = np.random.default_rng(0).standard_normal(int(seconds * 16_000))
    return (3000 * noise * (np.arange(len(noise)) % 6400 < 3200)).astype(np.int16)


def test_recordings_keep_length_times_and_type() -> None:
    sound = _speechlike()
    for seed in range(40):
        recorded = random_recording(seed).apply(sound)
        assert recorded.dtype == np.int16 and recorded.shape == sound.shape
        assert np.array_equal(recorded, random_recording(seed).apply(sound))
        middle = sound[4000:12_000].astype(float)
        match = [float(recorded[4000 + lag : 12_000 + lag] @ middle) for lag in range(-800, 801)]
        assert abs(int(np.argmax(match)) - 800) <= 1, seed  # samples
    assert 0.25 < np.mean([random_recording(seed) == CLEAN for seed in range(400)]) < 0.45


def test_each_part_of_a_recording_does_what_it_says() -> None:
    sound = _speechlike()
    wave = sound / 32768
    assert CLEAN.apply(sound) is sound
    noise = Recording(noise="white", snr_db=20).apply(sound) / 32768 - wave
    assert 20 * np.log10(wave.std() / noise.std()) == pytest.approx(20, abs=0.5)
    level = Recording(level_db=-28).apply(sound) / 32768
    assert 10 * np.log10((level**2).mean()) == pytest.approx(-28, abs=0.1)
    for line, cut_hz in (("telephone", 3700), ("coded", 7300)):
        spectrum = np.abs(np.fft.rfft(Recording(line=line, noise="white", snr_db=0).apply(sound).astype(float)))
        bands = [spectrum[at : at + 400].mean() for at in (cut_hz - 900, cut_hz)]
        assert 20 * np.log10(bands[0] / bands[1]) > 30
    tilted = np.abs(np.fft.rfft(Recording(eq_db=(0, 0, 0, 0, 0, 8, 8, 8)).apply(sound).astype(float)))
    plain = np.abs(np.fft.rfft(sound.astype(float)))
    gains_db = [20 * np.log10(tilted[at : at + 800].sum() / plain[at : at + 800].sum()) for at in (300, 4200)]
    assert gains_db == pytest.approx([0, 8], abs=0.7)
    room = Recording(rt60_s=0.4, echo_db=-6).apply(sound)
    gap = slice(int(0.21 * 16_000), int(0.39 * 16_000))
    assert np.abs(sound[gap]).max() == 0 and room[gap].std() > 100
    for wrong in ({"eq_db": (1.0,)}, {"rt60_s": 9.0}, {"noise": "rain"}, {"line": "tin"}):
        with pytest.raises(OptionError):
            Recording(**wrong)


def test_a_clip_moves_with_the_clean_speech_and_keeps_the_recorded_one() -> None:
    """With a speech of its own a clip needs neither a voice nor a synthesiser."""
    phones = tuple(Phone(("aa", "pau")[part % 2], part * 0.2, part * 0.2 + 0.2) for part in range(5))
    speech, recording = Speech(_speechlike(), phones), Recording(seed=3, noise="pink", snr_db=15, rt60_s=0.3)
    options = {"voice": None, "seed": 1, "size_px": 64, "speech": speech}
    clean = render_clip(random_identity(2, "male"), "Ah.", **options)
    noisy = render_clip(random_identity(2, "male"), "Ah.", **options, painter=clean.painter, recording=recording)
    assert noisy.shapes == clean.shapes and noisy.truth == clean.truth and noisy.expressions == clean.expressions
    assert np.array_equal(noisy.speech.sound, recording.apply(speech.sound))
    truth = json.loads(truth_json(noisy))
    assert Recording(**{**truth["recording"], "eq_db": tuple(truth["recording"]["eq_db"])}) == recording
    assert truth["voice"] is None and "recording of a voice" in truth["comment"]
    assert "recording" not in json.loads(truth_json(clean))
    with pytest.raises(OptionError, match="neither a voice nor a speech"):
        render_clip(random_identity(2, "male"), "Ah.", None, 1)


# --- real speech


@needs_recordings
def test_real_recordings_are_aligned_with_their_words() -> None:
    recordings = find_recordings()
    assert len(recordings) == 5
    name, wav, transcript = recordings[1]
    assert transcript == "he was not an ill disposed young man" and name in wav.name
    speech = align_recording(wav, transcript)
    assert {phone.name for phone in speech.phones} <= set(VISEMES)
    assert speech.phones[0].start_s == 0 and speech.phones[-1].end_s == speech.duration_s
    assert all(a.end_s == b.start_s and a.end_s > a.start_s for a, b in pairwise(speech.phones))
    spoken = [phone.name for phone in speech.phones if phone.name != "pau"]
    assert spoken[:5] == ["hh", "iy", "w", "ah", "z"] and spoken[-3:] == ["m", "ae", "n"]
    assert _contrast_db(speech, 0) > max(_contrast_db(speech, lag) for lag in (-0.06, 0.06)) + 1


@needs_recordings
def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    wav = tmp_path / "speech.wav"
    write_wav(wav, _speechlike())
    with pytest.raises(MediaError, match="check the words"):
        align_recording(wav, "xyzzyqux plugh")
    write_wav(wav, _speechlike(), 8000)
    with pytest.raises(MediaError, match="8000 Hz"):
        align_recording(wav, "hello")
    wav.write_bytes(b"no sound")
    with pytest.raises(MediaError, match="no WAV file"):
        align_recording(wav, "hello")


def test_missing_recordings_and_aligner_are_named_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MediaError, match="apt-get install pocketsphinx-testdata"):
        find_recordings(tmp_path)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    wav = tmp_path / "speech.wav"
    write_wav(wav, _speechlike())
    with pytest.raises(MediaError, match="pip install pocketsphinx"):
        align_recording(wav, "hello")


# --- the command


@pytest.mark.slow
@needs_flite
@needs_espeak
def test_make_in_several_processes_makes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["make", "--size", "64", "--seconds", "1", "--count", "2"]
    assert command.main([*options, "--output_dir", str(tmp_path / "one")]) == 0
    assert command.main([*options, "--output_dir", str(tmp_path / "two"), "--workers", "2"]) == 0
    folders = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert len(folders[0]) == 6 and folders[0] == folders[1]
    again = [*options, "--output_dir", str(tmp_path / "one"), "--recordings", "none"]
    assert command.main(again) == 2
    assert "made with other options" in capsys.readouterr().err
    (tmp_path / "dumb.txt").write_text("...\n")
    dumb = [*options, "--output_dir", str(tmp_path / "three"), "--workers", "2"]
    assert command.main([*dumb, "--sentences", str(tmp_path / "dumb.txt")]) == 2
    assert "at least one word" in capsys.readouterr().err
