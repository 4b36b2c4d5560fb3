"""The page. The only place that imports gradio."""

from florence_demo.ui.stubs import no_stubs

with no_stubs():
    from florence_demo.serving.config import AppConfig
    from florence_demo.ui.page import Page, build_app

__all__ = ["AppConfig", "Page", "build_app"]
