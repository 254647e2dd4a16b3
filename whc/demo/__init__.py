"""Models on a camera, a video, a folder or a rendered clip, or over many pictures; without torch."""
