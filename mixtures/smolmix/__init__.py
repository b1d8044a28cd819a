"""Mixtures: token manifests and a recipe in; an exact plan, a catalog and a hand-off bundle out."""
