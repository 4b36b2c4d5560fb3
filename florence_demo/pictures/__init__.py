"""Every way a picture gets in: files, bytes, the web, pages of PDFs, frames of videos.

Knows formats and limits, no model.
"""
