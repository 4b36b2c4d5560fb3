"""The page. The only place that imports gradio."""

from florence_demo.ui.stubs import no_stubs

with no_stubs():
    from florence_demo.ui.page import LAUNCH, build_app
    from florence_demo.ui.service import AppConfig

__all__ = ["LAUNCH", "AppConfig", "build_app"]
