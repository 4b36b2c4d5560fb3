"""Many pictures as a job: sources to items, items to rows, rows to files.

Knows how a job goes on where it stopped. Does not know the page or command lines; other machines
only ``on_ray`` knows.
"""
