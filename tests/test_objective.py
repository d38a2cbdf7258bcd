"""The number by which a search compares cells."""

import pytest
from record_content import sound_record

from latentsync.errors import OptionError
from latentsync.lab.options.compose import configured, refuse_search
from latentsync.lab.options.schema import general_options
from latentsync.lab.sweeps.objective import objective_of


def test_an_objective_is_the_mean_over_the_records_that_have_it(tmp_path):
    records = [sound_record(tmp_path, number) for number in range(2)]
    assert objective_of(records, "sync_mini_confidence") == pytest.approx(1 / 3)
    assert objective_of(records, "seconds") == pytest.approx(12.3)
    with pytest.raises(OptionError, match="lpips_alex has no value in the 2 records"):
        objective_of(records, "lpips_alex")


def test_an_objective_that_is_no_metric_is_refused_with_the_closest_one():
    with pytest.raises(OptionError, match="did you mean sync_mini_confidence_minus_real"):
        general_options(configured(["objective=sync_mini_confidence_minus_reel"]))


def test_a_search_needs_an_objective():
    with pytest.raises(OptionError, match="objective="):
        refuse_search("optuna", None)
    refuse_search("optuna", "seconds")
    refuse_search("basic", None)
