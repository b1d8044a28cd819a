"""Curation: raw datasets in, documents out, every drop counted."""
