"""How the page looks: Gradio's theme and the styles of our own components.

Colours are picked for a contrast of 4.5 or more on their ground, in the light and in the dark.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors

FONTS = ("Inter", "ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


CSS_FILES = tuple(
    Path(__file__).with_name(name)
    for name in (
        "page.css",
        "editor.css",
        "many.css",
        "runs.css",
        "compare.css",
        "holding.css",
        "conversation.css",
        "access.css",
    )
)


def theme() -> gr.themes.Base:
    """Return the theme; fonts are the visitor's own, nothing is fetched from elsewhere."""
    return gr.themes.Soft(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        radius_size="lg",
        font=list(FONTS),
        font_mono=list(MONO),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
        link_text_color="*primary_700",
        link_text_color_hover="*primary_800",
        link_text_color_visited="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited_dark="*primary_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_secondary_background_fill_hover_dark="*neutral_500",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        checkbox_label_text_color_selected="white",
        block_label_background_fill="*neutral_100",
        block_label_text_color="*neutral_700",
        block_label_background_fill_dark="*neutral_800",
        block_label_text_color_dark="*neutral_200",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_padding="0",
        block_shadow="none",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
    )


LOGO = (
    '<svg viewBox="0 0 48 48" width="32" height="32" aria-hidden="true" fill="none"'
    ' stroke="currentColor" stroke-width="3" stroke-linecap="round" stroke-linejoin="round">'
    '<path d="M6 15V9a3 3 0 0 1 3-3h6M33 6h6a3 3 0 0 1 3 3v6M42 33v6a3 3 0 0 1-3 3h-6'
    'M15 42H9a3 3 0 0 1-3-3v-6"/><path d="M24 37c0-9 9-9 9-17-4 0-7 2-9 6-2-4-5-6-9-6 0 8 9 8'
    ' 9 17Z" fill="currentColor" stroke="none"/><circle cx="24" cy="14" r="4" fill="currentColor"'
    ' stroke="none"/></svg>'
)
HEADER = (
    f'<div class="fd-header" data-words>{LOGO}<h1>Florence-2, on your pictures</h1>'
    '<div id="fd-status" class="fd-unseen" role="status"></div></div>'
)
