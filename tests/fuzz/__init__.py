"""A fuzzer for every door that strangers' input comes through.

``python -m tests.fuzz`` drives each door in a process of its own with files that were made to break
it, and with honest files that Hypothesis bends. What comes back must be an answer or one sentence
for the person who sent it, in time, within memory, and without a look at anybody else's files.
"""
