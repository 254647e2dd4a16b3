"""OpenCV's cascades of faces as `engine/cascade.js` takes them."""

from __future__ import annotations

from typing import Any

import cv2

from whc.demo.detectors.face import FRONTAL_FILE, PROFILE_FILE, cascade_path


def face_cascades() -> dict[str, Any]:
    """The two cascades, each with the side of its windows, its stages and their features.

    Raises:
        ArtifactError: this OpenCV has no such cascades.
    """
    return {"frontal": _cascade(FRONTAL_FILE), "profile": _cascade(PROFILE_FILE)}


def _cascade(file: str) -> dict[str, Any]:
    storage = cv2.FileStorage(str(cascade_path(file)), cv2.FILE_STORAGE_READ)
    try:
        root = storage.getNode("cascade")
        stages, features, rectangles = root.getNode("stages"), [], root.getNode("features")
        shapes = []
        for i in range(stages.size()):
            weak = stages.at(i).getNode("weakClassifiers")
            shapes.append([weak.size(), stages.at(i).getNode("stageThreshold").real()])
            for j in range(weak.size()):
                _, _, feature, border = _numbers(weak.at(j).getNode("internalNodes"))
                values = _numbers(weak.at(j).getNode("leafValues"))
                features.append([border, *values, *_rectangles(rectangles.at(int(feature)))])
        return {"side": int(root.getNode("width").real()), "stages": shapes, "features": features}
    finally:
        storage.release()


def _rectangles(feature: Any) -> list[float]:
    rectangles = feature.getNode("rects")
    return [number for i in range(rectangles.size()) for number in _numbers(rectangles.at(i))]


def _numbers(node: Any) -> list[float]:
    return [node.at(i).real() for i in range(node.size())]
