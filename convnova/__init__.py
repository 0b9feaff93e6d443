"""ConvNova, reproduced: from the raw genome to the paper's comparison tables."""

__version__ = "0.1.0"
