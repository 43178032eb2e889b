"""The file formats: each module turns one format into rows."""
