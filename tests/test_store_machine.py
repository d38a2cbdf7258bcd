"""The state machine of store, plan and two writers, in short; `make test-faults` runs it at length."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is in the extra dev")

from faults.store_machine import StoreMachine
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

SHORT = settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, database=None, report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.slow
def test_two_writers_lose_nothing_whatever_happens_between_their_steps():
    run_state_machine_as_test(StoreMachine, settings=SHORT)
