"""Write the classifiers of a predictor, with weights and temperature, into one checkpoint."""

from pathlib import Path

from sentiment.model.abstention import PREFIX as ABSTAIN
from sentiment.predict.checkpoint import save_ensemble
from sentiment.predict.csv_file import naming_target
from sentiment.predict.member import Member
from sentiment.predict.predictor import Predictor
from sentiment.predict.saved_classifier import SavedClassifier, SavedEnsemble
from sentiment.predict.torch_network import TorchNetwork
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import run_folder


def save_predictor(predictor: Predictor, target: Path) -> None:
    """Write an ensemble that ``Predictor.load`` opens; it keeps no paths.

    It keeps the thresholds of a single classifier whose scores it does not change.

    Args:
        predictor: the classifiers.
        target: the file, which appears when it is complete.

    Raises:
        InputError: the target cannot be written, or a member is of an ONNX file.
    """
    same = len(predictor.members) == 1 and predictor.temperature == 1
    saved = SavedEnsemble(
        [_saved(member, thresholds=same) for member in predictor.members],
        [(run_folder(member.path) or member.path).name for member in predictor.members],
        [float(weight) for weight in predictor.weights],
        predictor.temperature,
    )
    with naming_target(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        save_ensemble(target, saved)


def _saved(member: Member, *, thresholds: bool) -> SavedClassifier:
    classifier = member.classifier
    run = {
        name: each
        for name, each in member.run.items()
        if thresholds or not name.startswith(ABSTAIN)
    }
    if isinstance(classifier, TorchNetwork):
        return SavedClassifier(classifier.module, member.data, run)
    if classifier.padded:
        raise InputError(
            f"{member.path}: an ONNX file, which cannot be saved in a checkpoint; give the one that"
            " it was exported from"
        )
    return SavedClassifier(classifier, member.data, run)
