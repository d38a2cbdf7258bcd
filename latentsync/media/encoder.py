"""How x264 is set up, so that the same pictures and options give the same bytes in each run, on every x86 machine.

Two things that no option of a user names change what x264 writes. The first is a fault: its AVX-512 code for the tree
of macroblocks (`mbtree`) reads memory that nothing has written, if a row has a number of macroblocks of 16 px that 8
does not divide, as rows of 524, 700 or 1080 px have. Then two encodes of the same pictures differ by up to 28 levels.
Its code for AVX2 and older instructions is free of this, all of them give the same bytes, and AVX-512 gains no time
(see docs/log.md). The second is the number of threads, which x264 derives from the number of cores.
"""

from functools import cache

THREADS = 4  # of x264; 8 make the file 1.4 % larger
_AVX2 = 11  # CV_CPU_AVX2 of OpenCV's list of instructions


@cache
def instructions() -> dict[str, str]:
    """The option of x264 that keeps it from AVX-512; empty on a processor without AVX2, which has no AVX-512 either."""
    import cv2  # only what writes needs it

    return {"x264-params": "asm=AVX2"} if cv2.checkHardwareSupport(_AVX2) else {}


def steady_options() -> dict[str, str]:
    """Options of x264 with which the same pictures give the same bytes, also with another number of cores."""
    return {"threads": str(THREADS), **instructions()}
