"""Tests of the server and its page."""
