"""Whether a model listens or copies: known answers for lips that copy, listen and rest."""

import json

import numpy as np
import pandas as pd
import pytest

from latentsync.constants import SILENCE_NAME
from latentsync.errors import OptionError
from latentsync.lab.analysis.leakage import COPIED, FROZEN, OTHER, OWN, SILENT, cells_of, leakage, summary, verdict
from latentsync.lab.commands.leakage import main
from latentsync.lab.records.store import Record

FRAMES = 100
TIMES = np.arange(FRAMES)
OWN_LIPS = 0.1 + 0.05 * np.sin(2 * np.pi * TIMES / 20)
OTHER_LIPS = 0.1 + 0.05 * np.sin(2 * np.pi * TIMES / 10)  # 5 and 10 whole periods: not correlated
VOICES = {OWN: "{}.wav", OTHER: "someone.wav", SILENT: SILENCE_NAME}


@pytest.fixture
def sweep(tmp_path):
    """Records of four clips and their table, from the lips that each voice gives (None: no curves)."""

    def make(lips: dict, reference="same"):
        records, rows = [], []
        for clip in ("g-a", "g-b", "m-c", "m-d"):
            for heard, gap in lips.items():
                folder = tmp_path / f"{clip}-{heard}-{reference}"
                folder.mkdir()
                curves = {} if gap is None else {"lip_gap": list(gap), "lip_gap_source": list(OWN_LIPS[: len(gap)])}
                (folder / "curves.json").write_text(json.dumps(curves))
                records.append(Record(folder))
                voice = VOICES[heard].format(clip)
                rows.append({
                    "record": folder.name, "pair": f"{clip}__{voice}", "clip": f"{clip}.mp4", "voice": voice,
                    "gender": "female", "group": None, "reference": reference, "guidance_scale": 1.5,
                    "num_inference_steps": 20, "seed": 1, "sync_mini_confidence": 0.5,
                })  # fmt: skip
        return records, pd.DataFrame(rows)

    return make


def test_lips_that_copy_and_lips_that_listen_are_told_apart(sweep):
    listening = {OWN: OWN_LIPS, OTHER: OTHER_LIPS, SILENT: 0.1 + (OWN_LIPS - 0.1) / 10}
    copying = dict.fromkeys(listening, OWN_LIPS)
    for lips, likeness, motion in ((listening, 0.0, 0.1), (copying, 1.0, 1.0)):
        rows = summary(leakage(*sweep(lips, "same" if lips is copying else "elsewhere"))).set_index("heard")
        assert list(rows.index) == [OWN, OTHER, SILENT, COPIED, FROZEN] and (rows["units"] == 4).all()
        assert rows.loc[OWN, "likeness"] == pytest.approx(1)
        assert rows.loc[OTHER, "likeness"] == pytest.approx(likeness, abs=1e-6)
        assert rows.loc[SILENT, "motion"] == pytest.approx(motion)
        assert rows.loc[FROZEN, ["likeness", "motion"]].tolist() == [0, 0]
        assert np.isnan(rows.loc[SILENT, "sync_mini_confidence"]) and rows.loc[OTHER, "sync_mini_confidence"] == 0.5


def test_a_copied_reference_has_the_lips_of_the_frame_that_it_shows(sweep):
    """25 frames are 1.25 periods of the lips: a quarter apart, they are not correlated, and where the clip ends the
    reference is 25 frames earlier."""
    lips = {OTHER: OTHER_LIPS, SILENT: OTHER_LIPS}
    rows = summary(leakage(*sweep(lips, "elsewhere"))).set_index("heard")
    order = np.where(TIMES + 25 < FRAMES, TIMES + 25, TIMES - 25)
    expected = np.corrcoef(OWN_LIPS, OWN_LIPS[order])[0, 1]
    assert rows.loc[COPIED, "likeness"] == pytest.approx(expected, abs=1e-9) and abs(expected) < 0.1
    own = summary(leakage(*sweep(lips, "same"))).set_index("heard")
    assert own.loc[COPIED, ["likeness", "motion"]].tolist() == pytest.approx([1, 1])


def test_the_table_and_its_sentences_say_it(sweep):
    lips = {OWN: OWN_LIPS, OTHER: OTHER_LIPS, SILENT: 0.1 + (OWN_LIPS - 0.1) / 10}
    rows = summary(leakage(*sweep(lips)))
    cells = cells_of(rows)
    assert cells["likeness to the clip's own lips"][:2] == ["1.00", rows_text(rows, 1)]
    (sentence,) = verdict(rows, "clip")
    assert "reference same: under another voice the lips follow the clip's own by" in sentence
    assert "a copied reference 1.00; its own voice gives 1.00" in sentence
    assert "under silence they move 0.10 times as much" in sentence and "(means over 4 clips)" in sentence


def rows_text(rows, place: int) -> str:
    return f"{rows.loc[place, 'likeness']:.2f}"  # all clips agree, so that there is no interval


def test_what_is_missing_is_named(sweep, tmp_path, capsys):
    with pytest.raises(OptionError, match="no record has the lip gaps .* `latentsync measure"):
        leakage(*sweep({OTHER: None}))
    with pytest.raises(OptionError, match="no result with another voice and none with silence; .*experiment=leakage"):
        summary(leakage(*sweep({OWN: OWN_LIPS})))
    with pytest.raises(OptionError, match="24 frames show a face; at least 25"):
        leakage(*sweep({OTHER: OTHER_LIPS[:24]}, "elsewhere"))
    (tmp_path / "other.csv").write_text("clip,voice\na,b\n")
    assert main([str(tmp_path / "other.csv")]) == 2
    assert "heard" in capsys.readouterr().err


def test_a_written_table_gives_the_same_rows(sweep, tmp_path, capsys):
    from latentsync.lab.tables.tidy import write_table

    lips = {OWN: OWN_LIPS, OTHER: OTHER_LIPS, SILENT: OTHER_LIPS}
    table = leakage(*sweep(lips))
    write_table(table, tmp_path / "table.parquet")
    assert main([str(tmp_path / "table.parquet"), "--output", str(tmp_path / "again.csv")]) in (0, None)
    assert "copied reference" in " ".join(capsys.readouterr().out.split())
    assert main([str(tmp_path / "again.csv")]) in (0, None)
