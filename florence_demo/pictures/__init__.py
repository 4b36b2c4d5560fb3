"""Every way a picture gets in: files, bytes, the web, documents, videos. Knows formats and limits, no model."""
