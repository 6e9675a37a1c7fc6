"""What it means that a signal ended a process, for people who look after models."""

import signal

CRASHES = {
    signal.SIGSEGV: "it touched memory that is not its own, in native code",
    signal.SIGABRT: "native code gave up, as on a failed assertion or an error that nobody caught",
    signal.SIGBUS: "a mapped file was shorter than expected, or memory was not there",
    signal.SIGFPE: "native code divided by zero",
    signal.SIGILL: "native code has instructions that this processor lacks",
    signal.SIGKILL: "the system killed it, as it does when memory runs out",
}


def in_words(number: int) -> str:
    """Its name and what it tells, such as `SIGFPE: native code divided by zero`."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    told = next((told for crash, told in CRASHES.items() if crash == number), "something sent it that signal")
    return f"{name}: {told}"
