"""Faces: landmarks, one identity's track, affine crops, masks, and the crop back in its frame."""
