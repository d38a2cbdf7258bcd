"""Hydra's entry in a clone: `python experiments/run.py -m ...` is `latentsync run -m ...`."""

import sys

from latentsync.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
