"""Pictures of a sweep: lines with quartiles, maps, and a scaling law."""

FORMS = ("lines", "map", "scaling")  # the default first
