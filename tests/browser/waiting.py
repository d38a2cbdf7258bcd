"""Waiting for what a page's script does, where Playwright's own way is refused."""


def wait_for(frame, condition: str, seconds: float = 30) -> None:
    """Until a function is true in a frame or page; Playwright's own way is an eval, which policies refuse."""
    for _ in range(round(seconds / 0.05)):
        if frame.evaluate(condition):
            return
        frame.wait_for_timeout(50)
    raise TimeoutError(f"not true within {seconds:g} s: {condition}")
