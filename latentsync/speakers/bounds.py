"""What may be asked of generated clips. Imports nothing, so that a command's help is there at once."""

GENDERS_OF = {"g": ("female",), "m": ("male",), "both": ("female", "male")}  # who take turns, by the choice
KINDS = ("plain", "wide")  # of painted people
RECORDINGS = ("none", "varied")
SIZES_PX = (64, 2048)  # of the picture's side
VIEWS_MM = (190.0, 420.0)  # side of the picture in the plane of the face
