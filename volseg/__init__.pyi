from volseg.bundle.load import Bundle as Bundle
from volseg.bundle.load import load_bundle as load_bundle
from volseg.errors import VolsegError as VolsegError
from volseg.evaluation import Evaluation as Evaluation
from volseg.evaluation import evaluate as evaluate
from volseg.geometry import Grid as Grid
from volseg.io import read_volume as read_volume
from volseg.prediction.segmentation import Segmentation as Segmentation

__version__: str
