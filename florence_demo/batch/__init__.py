"""Many pictures as a job: sources to items, items to rows, rows to files.

Knows how a job goes on where it stopped. Does not know the page, command lines or other machines.
"""
