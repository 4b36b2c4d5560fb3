"""How nano learns from scenes: samples, heads, optimizer, loop. Knows no page."""
