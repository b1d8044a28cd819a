"""Metrics that task definitions name: each function takes the definition and returns a lighteval metric.

lighteval's own classes wherever it has them; tests hold each against answers worked out by hand.
"""
