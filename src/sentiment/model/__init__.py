"""Networks, their layers, their metrics and their calibration, independent of files."""
