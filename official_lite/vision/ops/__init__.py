"""Pure tensor functions for vision: boxes, anchors, matching, suppression, images."""
