"""Tags Chinese customer feedback by cause and satisfaction, with evidence and calibrated confidence."""

from importlib.metadata import version

from fankui.engine import Tagger
from fankui.errors import FankuiError
from fankui.tags import Tags, Untaggable
from fankui.taxonomy import Taxonomy

__all__ = ["FankuiError", "Tagger", "Tags", "Taxonomy", "Untaggable"]
__version__ = version("fankui")
