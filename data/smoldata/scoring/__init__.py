"""Scores of documents by models: encoders with a regression head, fastText classifiers, identifiers.

Start at :mod:`smoldata.scoring.steps` (blocks of a pipeline) or :mod:`smoldata.scoring.train` (one of your
own).
"""
