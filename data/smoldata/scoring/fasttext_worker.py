"""Train a fastText classifier: a program of its own, whose memory nobody has used before.

    python fasttext_worker.py LINES MODEL ARGUMENTS(JSON)

As it behaves (fasttext-numpy2 0.10.4, one thread): in a process that has freed memory before, training with a
small matrix ends in "Encountered NaN" or gives another model each time; with a matrix that comes fresh from
the system the model is the same, byte for byte. It seems to leave a part of the matrix as it was allocated.
So it gets a fresh process, with blocks from 1 MiB on taken from the system (``MALLOC_MMAP_THRESHOLD_``).
"""

import json
import sys

import fasttext


def main() -> None:
    """Train on the lines of a file; write the model."""
    lines, model, arguments = sys.argv[1:]
    try:
        fasttext.train_supervised(lines, **json.loads(arguments)).save_model(model)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
