"""RULER, generated: thirteen tasks at any length with any tokenizer, scored as published."""
