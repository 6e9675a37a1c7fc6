"""Settings over gRPC: the log, and what answers for tracing and shared memory while they are not offered."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from protos import inference_pb2 as pb
from server.domain.absent import check_region, no_shared_memory, no_tracing
from server.observe.logs import ProcessLog
from server.wire import log_settings

Answer = Callable[[Any, Any], Awaitable[Any]]


class SettingsDoor:
    """The methods of the service that are about settings. A refusal is raised, for the service to tell."""

    def __init__(self, log: ProcessLog) -> None:
        self._log = log

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
        raise no_tracing()

    async def system_status(self, message: Any, context: Any) -> Any:
        check_region("system", message.name)
        return pb.SystemSharedMemoryStatusResponse()

    async def cuda_status(self, message: Any, context: Any) -> Any:
        check_region("cuda", message.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def registration(self, message: Any, context: Any) -> Any:
        raise no_shared_memory()
