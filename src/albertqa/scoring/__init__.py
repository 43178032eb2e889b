"""The official SQuAD metric, exact to the last digit; thresholds for "no answer"; intervals; calibration."""
