"""Faces: landmarks, one identity's track, affine crops, masks, and pasting the crop back into its frame."""
