"""The embedded model "nano": a tiny Florence-2 trained here, on synthetic scenes, from nothing."""
