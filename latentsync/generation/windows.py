"""The windows of a video: groups of frames that are denoised together."""


def window_batches(num_frames: int, window: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """Windows (start, stop) of a video grouped into batches; a shorter last window is a batch of its own."""
    windows = [(start, min(start + window, num_frames)) for start in range(0, num_frames, window)]
    whole = [w for w in windows if w[1] - w[0] == window]
    rest = windows[len(whole) :]
    batches = [whole[i : i + batch_size] for i in range(0, len(whole), batch_size)]
    return batches + [[w] for w in rest]
