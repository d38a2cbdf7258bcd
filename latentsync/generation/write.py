"""Results to files: the video with its sound, and the frames with the mouth region painted grey."""

SYNTHETIC_NOTICE = "Synthetic video: the mouth was generated to follow the sound (audio-driven lip sync)."
UNTRAINED_NOTICE = "The model is UNTRAINED: the result shows the plumbing, not lip sync."
