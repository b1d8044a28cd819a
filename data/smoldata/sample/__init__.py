"""The offline sample: packages read as data -> raw files in the columns of the hub datasets."""
