"""A Slurm of one host for tests: its own munged, slurmctld and slurmd, listening on loopback only."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
NEEDED = "needs Debian's packages slurm-wlm and munge"
CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=5
KillWait=5
MinJobAge=300
SelectType=select/cons_tres
DefMemPerCPU=1500
GresTypes=gpu
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(number):
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Slurm:
    """Starts on construction; `stop` ends every job and every program by its process id."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, []
        (folder / "state").mkdir(parents=True)
        (folder / "spool").mkdir()
        folder.chmod(0o755)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        ports = free_ports(2)
        names = dict(folder=folder, user=getpass.getuser(), host=socket.gethostname(), ports=ports)
        (folder / "slurm.conf").write_text(CONF.format(**names))
        # Two devices that every machine has stand for GPUs: Slurm gives out their numbers.
        (folder / "gres.conf").write_text("Name=gpu File=/dev/zero\nName=gpu File=/dev/full\n")
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        munge = ["--key-file=munge.key", "--socket=munge.socket", "--pid-file=munged.pid", "--seed-file=munge.seed"]
        munge = [part.replace("=", f"={folder}/", 1) for part in munge]
        self._start("munged", "--foreground", "--force", f"--log-file={folder}/munged.log", *munge)
        self._wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "-D", "-i")
        self._start("slurmd", "-D", "-N", "node")
        self._wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "slurmd")

    def _start(self, program: str, *arguments: str) -> None:
        with open(self.folder / f"{program}.out", "w") as out:
            self.running.append(
                subprocess.Popen(
                    [shutil.which(program), *arguments],
                    env=self.environment,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _wait_for(self, happened, program: str) -> None:
        deadline = time.monotonic() + 60
        while not happened():
            if time.monotonic() > deadline or any(one.poll() is not None for one in self.running):
                said = (self.folder / f"{program}.out").read_text()[-2000:]
                self.stop()
                raise RuntimeError(f"{program} did not start:\n{said}")
            time.sleep(0.1)

    def ask(self, program: str, *arguments: str) -> str:
        done = subprocess.run([program, *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """The state of every job that Slurm still knows, array tasks by their own number."""
        return dict(line.split() for line in self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines())

    def stop(self) -> None:
        if len(self.running) > 1:
            self.ask("scancel", "--full", "--signal=KILL", "--user", getpass.getuser())
            self.ask("scancel", "--user", getpass.getuser())
            deadline = time.monotonic() + 30
            while self.ask("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
        for one in reversed(self.running):
            one.send_signal(signal.SIGTERM)
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
