"""The state machine of store, plan and two writers, at length."""

import pytest
from hypothesis import HealthCheck, settings

from faults.store_machine import StoreMachine

pytestmark = pytest.mark.faults
StoreMachine.TestCase.settings = settings(
    max_examples=600,
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestStoreAtLength = StoreMachine.TestCase
