"""What the header of an encoded image claims, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """What the header of an image claims."""

    format: str
    """"JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", or "Spark image" (see `spark`)."""
    height: int
    """In pixels, as stored: before it is turned."""
    width: int
    colours: str
    """"grey", "palette", "colour" or "CMYK"."""
    alpha: bool
    """Whether some of it may be transparent."""
    bits: int
    """Of one value; 8 for less."""
    orientation: int
    """As Exif counts: 1 is upright, 5 to 8 lie on their side."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as they are delivered: turned upright."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def mode(self) -> str:
        """The mode, of `Decode`, that keeps everything that is in it."""
        colours = "RGBA" if self.alpha else "L" if self.colours == "grey" else "RGB"
        return colours + "16" if self.bits > 8 else colours
