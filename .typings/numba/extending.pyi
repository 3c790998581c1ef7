# The function that is called lacks the typing context, which comes first where it is defined: no annotation can say so.
from typing import Any

intrinsic: Any
