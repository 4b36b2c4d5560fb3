"""What page and programs share: asking, engines in memory, the door, files. Knows no gradio."""
