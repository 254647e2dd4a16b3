"""Run an exported model on a camera, a video, a folder of images or a rendered clip; never imports torch."""
