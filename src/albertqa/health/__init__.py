"""What is wrong with a run, and what to do: rules over a run's record, live, afterwards, and by ``albertqa doctor``."""
