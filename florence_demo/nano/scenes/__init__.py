"""The synthetic scenes that nano learns from: drawings, layouts, words, and every truth of them."""
