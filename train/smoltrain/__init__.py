"""Training: a bundle in; checkpoints and a consumption ledger out."""
