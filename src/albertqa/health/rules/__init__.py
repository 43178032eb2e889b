"""The rules, by what they are about; `albertqa.health.diagnosis` has their order."""
