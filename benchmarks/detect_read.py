"""Find faces with BlazeFace, both models of mediapipe's face detection, for `detect.py`: pictures in, a line of JSON for each out.

Needs mediapipe 0.10.14 (Apache 2.0; its wheel carries the models). A picture is a line "height width" and its RGB bytes.
"""

import json
import sys
import time

import mediapipe
import numpy as np


def main() -> None:
    """Answer each picture with boxes, eyes and milliseconds of processor time of each model."""
    models = {
        name: mediapipe.solutions.face_detection.FaceDetection(model_selection=number)
        for number, name in enumerate(("BlazeFace short range", "BlazeFace full range"))
    }
    while header := sys.stdin.buffer.readline():
        height, width = map(int, header.split())
        bytes_read = sys.stdin.buffer.read(height * width * 3)
        picture = np.frombuffer(bytes_read, np.uint8).reshape(height, width, 3)
        found = {}
        for name, model in models.items():
            began = time.process_time()
            faces = model.process(picture).detections or []
            taken = time.process_time() - began
            places = [one.location_data for one in faces]
            boxes = [place.relative_bounding_box for place in places]
            found[name] = {
                "boxes": [
                    [b.xmin * width, b.ymin * height, (b.xmin + b.width) * width, (b.ymin + b.height) * height]
                    for b in boxes
                ],
                "eyes": [[[p.x * width, p.y * height] for p in place.relative_keypoints[:2]] for place in places],
                "ms": 1e3 * taken,
            }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
