"""Public data that the recipes train on: fetched by name, each file checked against its sha256."""

from seq2seq.public_data.fetch import fetch, missing_hint
from seq2seq.public_data.sources import SETS, DataSet

__all__ = ["SETS", "DataSet", "fetch", "missing_hint"]
