"""What can go wrong below the server: each error is a sentence for the person who can mend it."""


class RuntimeFault(Exception):
    """A model cannot be opened or run; the message says why, without a traceback or a stack."""


class RuntimeMissing(RuntimeFault):
    """A package that this model needs is not installed, or the wrong one is; says what to install."""


class DeviceMissing(RuntimeFault):
    """The configuration asks for a device that this machine does not have."""


class ModelBroken(RuntimeFault):
    """The file is not what its name says, or the runtime refuses it; says which file and why."""


class SignatureUnknown(RuntimeFault):
    """The file does not say what its inputs and outputs are; shows the configuration to write."""


class RunFailed(RuntimeFault):
    """The model raised while it ran; the message is the runtime's own sentence."""


class RuntimeLost(RuntimeFault):
    """The process that a model runs in is not there: it ended, or hung and was ended. The same run may go
    well once it is there again; says what happened and to which model."""


class RuntimeBusy(RuntimeFault):
    """There was no room in time to hand the tensors of this run to the process that the model runs in, as
    other runs have it. The same run may go well later; says which model and how much was asked for."""


class InputRefused(RuntimeFault):
    """The request is at fault, in these words: pre- or post-processing code raised `ValueError`, or a
    value is one that the runtime's own datatype cannot hold."""
