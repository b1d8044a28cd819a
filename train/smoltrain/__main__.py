"""``python -m smoltrain``: what ``torchrun -m smoltrain`` starts."""

from smoltrain.cli import main

main()
