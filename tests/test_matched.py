"""A setting against a baseline of equal cost: known answers."""

import pandas as pd
import pytest

from latentsync.errors import OptionError
from latentsync.lab.analysis.matched import at_equal_cost


def table(kinds: dict[str, dict[float, tuple[float, float]]], clips: int = 4) -> pd.DataFrame:
    """Records of some clips, each with its own level: kind -> scale -> (gain, cost)."""
    return pd.DataFrame([
        {"clip": f"{i}.mp4", "voice": "v.wav", "kind": kind, "scale": scale, "gain": gain + i, "cost": cost + i / 10}
        for i in range(clips)
        for kind, scales in kinds.items()
        for scale, (gain, cost) in scales.items()
    ])  # fmt: skip


PLAIN = {1.0: (1.0, 0.0), 2.0: (2.0, 1.0), 4.0: (2.5, 3.0)}


def test_a_weaker_setting_is_compared_with_weaker_guidance():
    kinds = {"plain": PLAIN, "same": {2.0: (1.5, 0.5)}, "better": {4.0: (2.6, 2.0)}, "beyond": {4.0: (3.0, 3.5)}}
    better, same = at_equal_cost(table(kinds), "kind", "plain", "scale", "gain", "cost")
    assert (same.setting, same.units) == ("same, 2", 4)
    assert (same.at, same.difference) == pytest.approx((1.5, 0.0))
    assert better.setting == "better, 4" and (better.at, better.difference) == pytest.approx((3.0, 2.6 - 2.25))
    assert better.interval is None  # all clips agree


def test_a_clip_that_lacks_the_setting_is_left_out():
    lacking = table({"plain": PLAIN, "other": {2.0: (2.5, 1.0)}})
    lacking = lacking[~((lacking["kind"] == "other") & (lacking["clip"] == "0.mp4"))]
    (one,) = at_equal_cost(lacking, "kind", "plain", "scale", "gain", "cost")
    assert one.units == 3 and one.at == pytest.approx(2.0) and one.difference == pytest.approx(0.5)


def test_a_baseline_without_a_curve_is_refused():
    with pytest.raises(OptionError, match="plain has 1 values of scale with all clips; a curve needs two"):
        at_equal_cost(table({"plain": {1.0: (1, 1)}, "a": {1.0: (1, 1)}}), "kind", "plain", "scale", "gain", "cost")
    with pytest.raises(OptionError, match="none has 0 values"):
        at_equal_cost(table({"plain": PLAIN}), "kind", "none", "scale", "gain", "cost")
