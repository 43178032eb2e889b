"""The first hour of four kinds of users: each walk goes from an empty folder to its goal, in real processes."""
