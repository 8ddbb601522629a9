"""How Sphinx builds these pages: `make docs`. The reference is written from the code first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs._ext import measured, reference

project = "Secateur"
author = "the authors of Secateur"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = "Secateur"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
nitpicky = True


def tell_what_was_measured(_app, docname, source):
    folder, _, method = docname.partition("/")
    if folder == "methods":
        source[0] += "\n" + measured.section(method, measured.figures())


def tell_the_limits(_app, docname, source):
    if docname == "explanation/security":
        source[0] = source[0].replace("{security_limits}", reference.limits())


def setup(app):
    app.connect("builder-inited", lambda app: reference.write(Path(app.srcdir) / "reference"))
    app.connect("source-read", tell_what_was_measured)
    app.connect("source-read", tell_the_limits)
