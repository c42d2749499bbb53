"""What is built with lisa_mm and ships apart from it: lisa_mm never imports a project."""
