"""What the machine says: processor time and memory of a process and its children, and whether it is quiet enough."""

import os
import platform
import resource
import socket
import time

from trouble import Trouble

# Of one core, for all processes together, before anything is started: what a desktop does by itself stays below.
QUIET = 0.15

# The servers run on the first core that we may use, the upstream and the load on the second.
CORES = sorted(os.sched_getaffinity(0))


def cores():
    if len(CORES) < 2:
        raise Trouble("two cores are needed: one for the server that is measured, one for the load")
    return CORES[0], CORES[1]


def on_core(core):
    """What a child does before it becomes another program."""
    return lambda: os.sched_setaffinity(0, {core})


def allow_many_files():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def conditions(forced):
    busy = busy_cores()
    if busy > QUIET and not forced:
        raise Trouble(f"other processes keep {busy:.2f} cores busy: wait until they are done, or say --force")
    return {
        "kernel": platform.release(),
        "processor": processor(),
        "busy_cores_before": round(busy, 2),
        "load_average_before": os.getloadavg()[0],
        "forced": forced,
    }


def busy_cores():
    """How many cores' worth of work was done in a second in which we did nothing."""
    def worked():
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    before = worked()
    time.sleep(1)
    return worked() - before


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def family(pid):
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except FileNotFoundError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                    found.extend(int(child) for child in file.read().split())
            except FileNotFoundError:
                pass
    return found


def processor_time(pid):
    """Seconds that a process and its children have computed, user and system, in the kernel's own nanoseconds: the
    ticks of /proc are hundredths of a second, and a whole run here may be a tenth."""
    # The clock of another process (clock_getcpuclockid(3)), which Python cannot name itself.
    return sum(time.clock_gettime((~member << 3) | 2) for member in family(pid))


def memory(pid):
    """Bytes in memory of a process and its children, each shared page counted once among them."""
    total = 0
    for member in family(pid):
        with open(f"/proc/{member}/smaps_rollup", encoding="ascii") as file:
            total += next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return total


def free_port():
    """One that is free now. Whoever takes it meanwhile makes the server that was to have it fail, which shows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
