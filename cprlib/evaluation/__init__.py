"""What a representation is worth: features of whole videos, retrieval, mining quality."""
