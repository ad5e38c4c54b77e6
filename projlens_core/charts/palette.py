"""One meaning, one colour, on every page and in both themes (Okabe–Ito hues, told apart by colour-blind eyes).

The colours of the models, of clean, triggered and chance keep 3:1 on white and on the dashboard's dark page; marks that
are not opaque have less, so few are. Words need 4.5:1: there the dashboard mixes the page's own text colour in.
"""

CLEAN = "#0072B2"
TRIGGERED = "#D55E00"
BASE = "#7F848D"
SUSPECT = "#8A5CB4"
CONTROL = "#009E73"
FURTHER = ("#BF8400", "#CC79A7", "#8A7F1C", "#A0522D", "#17A2B8")  # further projectors, in order
NULL = "#8E959E"  # what chance would give: always with a dashed edge
CHOSEN = "#56B4E9"  # the frame of what was clicked, seen on every colour of the heatmaps and in both themes

# Magnitude: magma, dark is little. Sign or difference: zero in the middle, blue below, orange above.
SEQUENTIAL = (
    "#0D0829",
    "#280B53",
    "#4F127B",
    "#752181",
    "#9C2E7F",
    "#C43C75",
    "#E65164",
    "#FA7D5E",
    "#FEB078",
    "#FCFDBF",
)
DIVERGING = ("#00456C", "#0072B2", "#4C9CCB", "#94C4E0", "#F2F2F0", "#F0B88A", "#E48A48", "#D55E00", "#8F3F00")
