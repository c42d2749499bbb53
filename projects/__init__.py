"""Projects built with lisa_mm and shipped separately: lisa_mm never imports them."""
