"""Post-training: a base checkpoint in; mid-trained, SFT, APO and merged checkpoints out."""
