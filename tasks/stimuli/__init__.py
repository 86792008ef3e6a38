"""What the saliency task knows of a set beside one batch, and how it draws."""
