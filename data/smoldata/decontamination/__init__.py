"""Decontamination: documents against evaluation sets, by 13-grams and by exact answers.

Start at :mod:`smoldata.decontamination.run` (finished documents) or
:mod:`smoldata.decontamination.step` (a block of a pipeline).
"""
