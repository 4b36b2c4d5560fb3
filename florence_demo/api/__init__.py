"""What programs ask, over plain HTTP and otherwise: typed, without a session. Knows no gradio."""
