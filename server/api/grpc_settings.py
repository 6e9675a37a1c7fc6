"""Settings over gRPC: the log, the traces, and what answers for shared memory while it is not offered."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from protos import inference_pb2 as pb
from server.api.trace_settings import TraceSettings
from server.domain.absent import check_region, no_shared_memory
from server.observe.logs import ProcessLog
from server.wire import log_settings, trace_settings

Answer = Callable[[Any, Any], Awaitable[Any]]


class SettingsDoor:
    """The methods of the service that are about settings. A refusal is raised, for the service to tell."""

    def __init__(self, log: ProcessLog, traces: TraceSettings) -> None:
        self._log = log
        self._traces = traces

    def methods(self) -> Mapping[str, tuple[Answer, Any]]:
        """Name -> what answers it, and the message that it takes."""
        return {
            "LogSettings": (self.log_settings, pb.LogSettingsRequest),
            "TraceSetting": (self.trace_setting, pb.TraceSettingRequest),
            "SystemSharedMemoryStatus": (self.system_status, pb.SystemSharedMemoryStatusRequest),
            "SystemSharedMemoryRegister": (self.registration, pb.SystemSharedMemoryRegisterRequest),
            "SystemSharedMemoryUnregister": (self.registration, pb.SystemSharedMemoryUnregisterRequest),
            "CudaSharedMemoryStatus": (self.cuda_status, pb.CudaSharedMemoryStatusRequest),
            "CudaSharedMemoryRegister": (self.registration, pb.CudaSharedMemoryRegisterRequest),
            "CudaSharedMemoryUnregister": (self.registration, pb.CudaSharedMemoryUnregisterRequest),
        }

    async def log_settings(self, message: Any, context: Any) -> Any:
        changed = log_settings.settings_of(message, self._log.settings)
        if changed != self._log.settings:
            self._log.change(changed)
        return log_settings.log_settings_message(self._log.settings)

    async def trace_setting(self, message: Any, context: Any) -> Any:
        change, model = trace_settings.change_of(message), message.model_name
        sampling = self._traces.change(change, model) if message.settings else self._traces.of(model)
        return trace_settings.trace_settings_message(sampling, self._traces.mode)

    async def system_status(self, message: Any, context: Any) -> Any:
        check_region("system", message.name)
        return pb.SystemSharedMemoryStatusResponse()

    async def cuda_status(self, message: Any, context: Any) -> Any:
        check_region("cuda", message.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def registration(self, message: Any, context: Any) -> Any:
        raise no_shared_memory()
