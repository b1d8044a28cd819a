"""Evaluation: checkpoints in; scores that name their task, data and checkpoint out."""
