"""nanotron for the cluster: our loader in its trainer, its launch commands, its environment examined.

nanotron itself is never imported here but in :mod:`smoltrain.nanotron.launch`, which runs in nanotron's own
environment under torchrun.
"""
