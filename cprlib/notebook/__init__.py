"""What notebooks need: parameters, the strict runner, pages."""

import sys

# jsonschema, which checks notebooks, would build a grammar of international URLs, which takes longer than all other
# imports here; notebooks hold no such URL, and jsonschema works without it.
sys.modules.setdefault("rfc3987_syntax", None)
