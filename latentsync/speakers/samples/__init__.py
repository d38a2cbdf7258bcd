"""The clips and voices that ship with the project, and how they were made."""

from pathlib import Path

from latentsync.media.sound import write_wav
from latentsync.speakers.clip import render_clip, write_clip
from latentsync.speakers.identity import Identity
from latentsync.speakers.voice import Voice, speak

FOLDER = Path(__file__).parent
SIZE_PX = 512
SEEDS = {"g-clara": 4, "m-oskar": 9}

IDENTITIES = {
    "g-clara": Identity(
        gender="female", seed=12, skin=(236, 198, 174), face_width=0.98, jaw_width=0.94, chin_length=0.97,
        nose_width=0.90, nose_length=0.98, eye_size=1.07, iris=(92, 116, 110), lashes=0.9, brow_weight=0.8,
        brow_arch=0.7, lips=(190, 96, 98), lip_fullness=1.08, smile=0.5, cheek_tint=0.6, age=0.08, hair=(98, 62, 40),
        hair_style="long", light=-0.55, background=(158, 164, 160), clothes=(58, 92, 98), clothes_style="crew",
    ),
    "m-oskar": Identity(
        gender="male", seed=5, skin=(222, 178, 148), face_width=1.02, jaw_width=1.04, chin_length=1.02,
        nose_width=1.02, eye_size=0.98, iris=(96, 70, 46), lashes=0.25, brow_weight=1.2, brow_arch=0.25,
        lips=(180, 116, 104), lip_fullness=0.92, mouth_width=1.02, smile=0.4, cheek_tint=0.2, age=0.42,
        beard="stubble", hair=(58, 42, 32), hair_style="swept", light=0.6, background=(150, 150, 160),
        clothes=(62, 72, 92), clothes_style="collar",
    ),
}  # fmt: skip
VOICES = {"g-clara": Voice("slt", stretch=1.08), "m-oskar": Voice("rms", stretch=0.97)}
SENTENCES = {
    "g-clara": "Hello, I am Clara. We could walk by the water.",
    "m-oskar": "Good day, I am Oskar. Would you book a boat for two?",
}
OTHER_SENTENCES = {
    "g-clara-weather": "Tomorrow will be warm, with clouds above the bay.",
    "m-oskar-weather": "By evening we may have heavy rain, and the wind moves west.",
}


def write_samples(folder: Path = FOLDER) -> None:
    """Make every shipped file again: per person a clip with its sound and truth, and one more voice."""
    for name, identity in IDENTITIES.items():
        clip = render_clip(identity, SENTENCES[name], VOICES[name], SEEDS[name], SIZE_PX)
        write_clip(clip, folder / f"{name}.mp4")
    for name, sentence in OTHER_SENTENCES.items():
        speech = speak(sentence, VOICES[name.removesuffix("-weather")])
        write_wav(folder / f"{name}.wav", speech.sound)
