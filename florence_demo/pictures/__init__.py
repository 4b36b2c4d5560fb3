"""Every way a picture gets in: files, bytes, the web. Knows formats and limits, no model."""
