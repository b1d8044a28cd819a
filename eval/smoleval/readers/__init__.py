"""Files of packages -> rows in the columns of the hub dataset: one function a benchmark and package.

A reader takes the bytes of the file that a definition names, and yields rows. What the package does not have
(titles, identifiers) is left out.
"""
