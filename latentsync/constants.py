"""Numbers that the published models and networks fix, each in this one place. Imports nothing."""

SOUND_RATE_HZ = 16_000  # of mono sound, as Whisper and the SyncNets hear it
VIDEO_RATE_HZ = 25.0  # frames a second of every video that a model sees or makes
SAMPLES_PER_FRAME = 640  # of sound under one video frame: SOUND_RATE_HZ / VIDEO_RATE_HZ
LATENT_PX = 8  # px of a crop along each side of one latent, in the Stable Diffusion autoencoder

# MediaPipe's face mesh. Irises, which some versions of it add behind these points, are not used.
MESH_POINTS = 468
LEFT_EYE_CORNERS = (33, 133)  # of the eye on the picture's left: outer and inner corner
RIGHT_EYE_CORNERS = (263, 362)
SILENCE_NAME = "silence.flac"  # of the shipped minute of silence, in `latentsync/speakers`
