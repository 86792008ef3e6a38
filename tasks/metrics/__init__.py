"""Measures of quality: pure functions, arrays in, numbers out; one file a kind of data."""
