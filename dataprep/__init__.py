"""Offline stage: raw source -> built set. Run `python -m dataprep --help`."""
