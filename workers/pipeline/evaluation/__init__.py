"""Measure a model before and after pruning. One metric, one file; `metrics` lists them."""
