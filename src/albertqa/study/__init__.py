"""Studies: many runs over settings and seeds, and what can be said of the settings afterwards (extra ``study``)."""
