"""From pixels and a prompt to what the decoder reads: tower and text encoder, written out."""
