"""The rules, by what they are about; `albertqa.health.diagnose` has their order."""
