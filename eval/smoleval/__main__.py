"""``python -m smoleval``: the command line."""

from smoleval.cli import main

if __name__ == "__main__":
    main()
