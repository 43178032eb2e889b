"""Answer questions over HTTP: Hugging Face's task form, a fuller one, and a page for people."""
