"""Florence-2 in a browser and on the command line.

Importing the package is cheap: torch, transformers and gradio are loaded where they are used.
"""

from florence_demo.prediction import Detections, Prediction
from florence_demo.tasks import TASKS, Task, parse_answer

__version__ = "0.1.0"

__all__ = ["TASKS", "Detections", "Prediction", "Task", "__version__", "parse_answer"]
