"""What a trained pair is used for: codes of data, data of codes, reconstructions, missing values, what lies between."""
