"""The page. The only place that imports gradio."""

from florence_demo.ui.page import LAUNCH, AppConfig, build_app

__all__ = ["LAUNCH", "AppConfig", "build_app"]
