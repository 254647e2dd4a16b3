"""Parts of HTML pages, made from plain values: templates, tables, figures, thumbnails.

A page is one file that opens without a network. It knows no study, task or data set: whoever makes one hands it values.
All text is escaped, in HTML and in the labels of figures; the data of scripts are packed.
"""

from whc.pages.figures import Figure
from whc.pages.page import Section, render
from whc.pages.parts import (
    Bar,
    Cell,
    Column,
    CurvePanel,
    Facts,
    Fold,
    Link,
    Listing,
    Part,
    Picture,
    Pictures,
    SideBySide,
    Table,
    Text,
)

__all__ = [
    "Bar",
    "Cell",
    "Column",
    "CurvePanel",
    "Facts",
    "Figure",
    "Fold",
    "Link",
    "Listing",
    "Part",
    "Picture",
    "Pictures",
    "Section",
    "SideBySide",
    "Table",
    "Text",
    "render",
]
