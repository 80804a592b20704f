"""Codes of data, data of codes, reconstructions, missing values, ways between data: uses of a trained pair."""
