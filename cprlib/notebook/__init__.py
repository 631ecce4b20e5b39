"""What notebooks need: parameters, the strict runner, pages."""

import sys

# jsonschema, which checks notebooks, would work out a grammar of international URLs, for longer than all else here
# takes to be imported; notebooks hold none, and it does without.
sys.modules.setdefault("rfc3987_syntax", None)
