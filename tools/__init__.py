"""Commands around the library, installed as `streamload.tools`; the library never imports them."""
