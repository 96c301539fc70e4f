"""`vapsr app`: the page on which images are upscaled. It needs Gradio and does not import BasicSR."""
