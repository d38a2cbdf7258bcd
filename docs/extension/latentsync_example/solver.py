"""A solver."""

from diffusers import EulerDiscreteScheduler, SchedulerMixin


def euler(scheduler: SchedulerMixin) -> EulerDiscreteScheduler:
    """Euler's method, for the noise of the model's own scheduler."""
    return EulerDiscreteScheduler.from_config(scheduler.config)
