"""The one exception tree of the house.

::

    SmolError
    ├── InputError (ValueError)      what the user gave is wrong        exit code 2
    │   ├── RecipeError              a recipe, preset or weight
    │   ├── SourceError              a source: unknown, empty, malformed
    │   └── TokenizerError           a vocabulary or an engine
    ├── IntegrityError               bytes are not what was recorded    exit code 1
    ├── TrainingError                a run whose loss is not finite     exit code 1
    ├── BusyError                    another run holds the build folder exit code 1
    └── StorageError (OSError)       disk full, permission denied       exit code 1

A message says what is wrong, where, the number seen and the number wanted, and what to do next.
Broken invariants of our own are ``assert``; they are bugs, not errors.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class SmolError(Exception):
    """Base of every error this project raises on purpose."""

    exit_code = EXIT_FAILED


class InputError(SmolError, ValueError):
    """What the user gave cannot be used."""

    exit_code = EXIT_USAGE


class RecipeError(InputError):
    """A recipe, a preset or a weight is wrong."""


class SourceError(InputError):
    """A source is unknown, empty or malformed."""


class TokenizerError(InputError):
    """A vocabulary cannot be found, or is not the one that is pinned."""


class IntegrityError(SmolError):
    """Bytes on disk are not the bytes that were recorded."""


class TrainingError(SmolError):
    """A training run cannot go on: its loss or its gradient is not finite."""


class BusyError(SmolError):
    """Another run is working in the same folder."""


class StorageError(SmolError, OSError):
    """The file system refused: full, read-only or not permitted."""
